//! The built-in plugins, a line each.

use crate::registry::Registry;
use crate::sinks::jsonl::JsonlConfig;
use crate::sources::websocket::WebsocketConfig;
use crate::stages::verbatim::VerbatimConfig;

impl Registry {
    /// Every plugin that comes with the recorder.
    pub fn builtin() -> Self {
        Self::empty()
            .source::<WebsocketConfig>()
            .stage::<VerbatimConfig>()
            .stage_alias("passthrough", "verbatim")
            .sink::<JsonlConfig>()
    }
}

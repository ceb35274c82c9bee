//! The built-in plugins, a line each.

use super::Registry;
use crate::{sinks, sources, stages};

impl Registry {
    /// Every plugin that comes with the recorder.
    pub fn builtin() -> Self {
        Self::empty()
            .source::<sources::exec::ExecSourceConfig>()
            .source::<sources::file::FileConfig>()
            .source::<sources::stdin::StdinConfig>()
            .source::<sources::websocket::WebsocketConfig>()
            .stage::<stages::dedup::DedupConfig>()
            .stage::<stages::exec::ExecStageConfig>()
            .stage::<stages::filter::FilterConfig>()
            .stage::<stages::jq::JqConfig>()
            .stage::<stages::sample::SampleConfig>()
            .stage::<stages::stamp::StampConfig>()
            .stage::<stages::validate::ValidateConfig>()
            .stage::<stages::verbatim::VerbatimConfig>()
            .stage_alias("passthrough", "verbatim")
            .sink::<sinks::exec::ExecSinkConfig>()
            .sink::<sinks::jsonl::JsonlConfig>()
            .sink::<sinks::stdout::StdoutConfig>()
    }
}

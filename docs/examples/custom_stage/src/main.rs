//! A recorder with a stage of its own: the built-in plugins and one more.
//!
//! ```console
//! $ cargo run -p custom-stage -- plugins at_least          # knows the new stage, with its keys
//! $ streamer demo --serve 127.0.0.1:9001 &                 # something to record
//! $ cargo run -p custom-stage -- run -config docs/examples/custom_stage/config.json
//! ```

use std::process::ExitCode;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streamer::{Batch, BoxError, BuildContext, Registry, Stage, StageConfig};

/// Keeps messages of at least so many bytes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AtLeastConfig {
    /// The length of the shortest message that is kept, in bytes.
    bytes: usize,
}

impl StageConfig for AtLeastConfig {
    const TYPE: &'static str = "at_least";

    fn example() -> Value {
        json!({ "bytes": 100 })
    }

    fn build(self, _: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        Ok(Box::new(AtLeast { bytes: self.bytes }))
    }
}

struct AtLeast {
    bytes: usize,
}

impl Stage for AtLeast {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        batch.retain(|record| record.payload.len() >= self.bytes);
        Ok(())
    }
}

fn main() -> ExitCode {
    streamer::cli::main(Registry::builtin().stage::<AtLeastConfig>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_messages_are_dropped() {
        let mut batch = Batch::new();
        for message in ["pong", "a trade"] {
            batch.push(message.as_bytes());
        }
        AtLeast { bytes: 5 }.process(&mut batch).unwrap();
        assert_eq!(batch.as_lines(), b"a trade\n");
    }
}

//! Writes every message as a line to stdout.

use std::io::{self, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, DestinationGone, Sink, SinkConfig};

/// Writes every message as a line to stdout. When nobody reads it any more, the pipeline ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {}

impl SinkConfig for StdoutConfig {
    const TYPE: &'static str = "stdout";

    fn uses_stdout(&self) -> bool {
        true
    }

    fn build(self, _: &BuildContext) -> Result<Box<dyn Sink>, BoxError> {
        Ok(Box::new(StdoutSink { written: 0 }))
    }
}

struct StdoutSink {
    /// How much of the batch that is written has been taken.
    written: usize,
}

impl Sink for StdoutSink {
    fn destination(&self) -> String {
        "stdout".to_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "what is taken is counted, and not given twice")]
    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        let mut stdout = io::stdout().lock();
        // What was taken before a failure is not written again.
        while let Some(rest) = batch.as_lines().get(self.written..).filter(|rest| !rest.is_empty())
        {
            match stdout.write(rest) {
                Ok(0) => {
                    return Err(DestinationGone("stdout takes nothing any more".to_owned()).into());
                }
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(DestinationGone("nobody reads stdout any more".to_owned()).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.written = 0;
        match stdout.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(DestinationGone("nobody reads stdout any more".to_owned()).into())
            }
            flushed => Ok(flushed?),
        }
    }
}

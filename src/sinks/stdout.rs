//! A sink that writes every message as a line to stdout.

use std::io::{self, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::heartbeat::beat;
use crate::base::time::UnixNanos;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, DestinationGone, Sink, SinkConfig};

/// Writes every message as a line to stdout. The pipeline ends when the reader closes stdout.
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

/// Number of bytes that are written at once: a slow reader takes so many before it counts as one that
/// hangs.
const BLOCK_BYTES: usize = 64 << 10;

struct StdoutSink {
    /// Number of bytes of the current batch that are written. A failed write is continued there.
    written: usize,
}

impl Sink for StdoutSink {
    fn destination(&self) -> String {
        "stdout".to_owned()
    }

    fn idle_until(&self) -> Option<UnixNanos> {
        Some(UnixNanos::from_seconds(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "a short write is counted and continued")]
    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        let mut stdout = io::stdout().lock();
        while let Some(rest) = batch.as_lines().get(self.written..).filter(|rest| !rest.is_empty())
        {
            let (block, _) = rest.split_at(rest.len().min(BLOCK_BYTES));
            match stdout.write(block) {
                Ok(0) => {
                    return Err(DestinationGone("stdout accepts no more bytes".to_owned()).into());
                }
                Ok(written) => {
                    self.written += written;
                    beat();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(DestinationGone("the reader of stdout is gone".to_owned()).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.written = 0;
        match stdout.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(DestinationGone("the reader of stdout is gone".to_owned()).into())
            }
            flushed => Ok(flushed?),
        }
    }
}

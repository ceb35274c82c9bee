//! Lines from stdin.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reading::{End, Reading, is_readable};
use crate::batch::Batch;
use crate::json::Selector;
use crate::plugin::{BoxError, BuildContext, Closing, Source, SourceConfig, SourceError};
use crate::stats::Stats;

/// Every line of stdin is a message. At its end the pipeline ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdinConfig {
    /// What the messages are of. The jsonl sink names its files after a single topic.
    pub topics: Vec<String>,
    /// Where a message says what its topic is.
    pub topic_pointer: Option<Selector>,
}

impl SourceConfig for StdinConfig {
    const TYPE: &'static str = "stdin";

    fn topics(&self) -> &[String] {
        &self.topics
    }

    fn topic(&self) -> Option<Selector> {
        self.topic_pointer.clone()
    }

    fn uses_stdin(&self) -> bool {
        true
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        Ok(Box::new(Stdin { reading: None, stats: Arc::clone(&context.stats) }))
    }
}

struct Stdin {
    reading: Option<Reading>,
    stats: Arc<Stats>,
}

#[async_trait]
impl Source for Stdin {
    fn endpoint(&self) -> String {
        "stdin".to_owned()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        let stats = Arc::clone(&self.stats);
        let reading = Reading::start(std::io::stdin(), || is_readable(&std::io::stdin()), stats);
        self.reading = Some(reading.map_err(|error| SourceError::Fatal(error.into()))?);
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let Some(reading) = &mut self.reading else { return Err(SourceError::Ended) };
        reading.read(batch).await.map_err(|end| match end {
            End::Eof => SourceError::Ended,
            End::Failed(error) => SourceError::Fatal(error.into()),
        })
    }

    fn close(&mut self) -> Closing {
        // What was read and is not yet handed on is ours.
        match &self.reading {
            Some(reading) => {
                reading.stop();
                Closing::Draining
            }
            None => Closing::Done,
        }
    }
}

//! The source of lines from stdin.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::line_reader::{LineReader, ReadEnd, poll_readable};
use crate::base::json::Selector;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{
    BoxError, BuildContext, CloseStatus, ConnectionEvent, Source, SourceConfig, SourceError,
    Subscription,
};

/// Records every line of stdin as a message. The pipeline ends with stdin.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdinConfig {
    /// Topics of the messages. The jsonl sink names its files after a single topic.
    pub topics: Vec<String>,
    /// Selector of the topic in a message.
    pub topic_pointer: Option<Selector>,
}

impl SourceConfig for StdinConfig {
    const TYPE: &'static str = "stdin";

    fn topics(&self) -> &[String] {
        &self.topics
    }

    fn topic_selector(&self) -> Option<Selector> {
        self.topic_pointer.clone()
    }

    fn uses_stdin(&self) -> bool {
        true
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        Ok(Box::new(StdinSource { reader: None, stats: Arc::clone(&context.stats) }))
    }
}

struct StdinSource {
    reader: Option<LineReader>,
    stats: Arc<PipelineStats>,
}

#[async_trait]
impl Source for StdinSource {
    fn endpoint(&self) -> String {
        "stdin".to_owned()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        let stats = Arc::clone(&self.stats);
        let reader =
            LineReader::spawn(std::io::stdin(), || poll_readable(&std::io::stdin()), stats);
        self.reader = Some(reader.map_err(|error| SourceError::Fatal(error.into()))?);
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        let Some(reader) = &mut self.reader else {
            return Err(SourceError::Fatal("stdin is read before it is opened".into()));
        };
        reader.read_lines(batch).await.map_err(|end| match end {
            ReadEnd::Eof => SourceError::Ended,
            ReadEnd::Failed(error) => SourceError::Fatal(error.into()),
        })
    }

    fn close(&mut self) -> CloseStatus {
        match &self.reader {
            Some(reader) => {
                reader.stop();
                // Lines that were read from stdin cannot be read by anybody else.
                CloseStatus::Draining
            }
            None => CloseStatus::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_without_a_connect_is_not_taken_for_the_end_of_stdin() {
        let context = BuildContext::new(Vec::new(), Arc::default(), 1);
        let mut source = StdinConfig::default().build(&context).unwrap();
        let read = source.read(&mut Batch::new(), &mut Vec::new()).await;
        assert!(matches!(read, Err(SourceError::Fatal(_))));
    }
}

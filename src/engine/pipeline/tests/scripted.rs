//! A source that follows a script, and a sink that records its calls.

use std::collections::VecDeque;

use super::*;
use crate::plugin::{CloseStatus, DestinationGone, RejectedMessage, SourceEvent};

pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The action of the source at one read.
pub(super) enum ScriptStep {
    /// Returns these messages, which are separated by spaces.
    Message(&'static str),
    RefuseTopic,
    Wait,
    Close,
    /// Returns messages without end.
    Flood,
}

pub(super) fn topic_refused(topic: &str, detail: &str) -> ConnectionEvent {
    ConnectionEvent::TopicDown {
        topic: topic.to_owned(),
        cause: DownCause::Refused,
        detail: detail.to_owned(),
        silent_for: None,
    }
}

/// Follows a script.
pub(super) struct ScriptedSource {
    steps: VecDeque<ScriptStep>,
    /// Canceled when the script waits.
    pub(super) waiting: CancellationToken,
}

impl ScriptedSource {
    pub(super) fn new(steps: impl IntoIterator<Item = ScriptStep>) -> Self {
        let waiting = CancellationToken::new();
        Self { steps: steps.into_iter().collect(), waiting }
    }
}

#[async_trait]
impl Source for ScriptedSource {
    fn endpoint(&self) -> String {
        "a script".to_owned()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        // A wait ends when the connection is closed; the next read takes the next step.
        match self.steps.pop_front() {
            Some(ScriptStep::Message(text)) => {
                for message in text.split(' ') {
                    batch.push(message.as_bytes());
                }
            }
            Some(ScriptStep::RefuseTopic) => {
                events.push(topic_refused("a", "no"));
            }
            Some(ScriptStep::Close) => {
                return Err(Disconnect::new(DownCause::Closed, "closed").into());
            }
            Some(ScriptStep::Flood) => {
                self.steps.push_front(ScriptStep::Flood);
                batch.push(b"x");
            }
            Some(ScriptStep::Wait) | None => {
                self.waiting.cancel();
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> CloseStatus {
        CloseStatus::Draining
    }
}

/// Records its messages and events as text, or fails.
#[derive(Default)]
pub(super) struct RecordingSink {
    pub(super) log: Arc<Mutex<Vec<String>>>,
    /// Set if the destination is gone for good.
    pub(super) is_gone: bool,
    /// Set if writes fail with an error that may heal.
    pub(super) fails: bool,
    pub(super) keeps_rejected: bool,
}

impl Sink for RecordingSink {
    fn destination(&self) -> String {
        "notes".to_owned()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        if self.is_gone {
            return Err(DestinationGone("it is gone".to_owned()).into());
        }
        if self.fails {
            return Err("it fails".into());
        }
        let lines = batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
        self.log.lock().unwrap().extend(lines);
        Ok(())
    }

    fn write_rejected(&mut self, _: &[RejectedMessage]) -> Result<(), BoxError> {
        self.write(&Batch::new())
    }

    fn wants_rejected(&self) -> bool {
        self.keeps_rejected
    }

    fn on_event(&mut self, _: UnixNanos, event: &SourceEvent) -> Result<(), BoxError> {
        let line = match event {
            SourceEvent::Down { cause, silent_since, .. } => {
                format!("down {} {}", cause.as_str(), silent_since.is_some())
            }
            SourceEvent::Behind { .. } => "behind".to_owned(),
            SourceEvent::TopicDown { topic, cause, .. } => format!("{} {topic}", cause.as_str()),
            SourceEvent::Dropped { messages, cause, .. } => {
                format!("dropped {messages} {}", cause.as_str())
            }
            _ => return Ok(()),
        };
        self.log.lock().unwrap().push(line);
        Ok(())
    }
}

pub(super) fn scripted_pipeline(
    source: impl Source + 'static,
    sinks: Vec<RecordingSink>,
) -> Pipeline {
    Pipeline {
        sources: vec![Box::new(source)],
        sinks: sinks.into_iter().map(|sink| required_sink(Box::new(sink))).collect(),
        shutdown_timeout: TEST_TIMEOUT,
        control: Arc::default(),
        sink_dirs: Vec::new(),
        ..PipelineHarness::pipeline(NumberSource::until(0), MemorySink::default(), Overflow::Block)
    }
}

/// Stops the recording of a script when it waits, and returns the log of the sink.
pub(super) async fn record_until_wait(steps: impl IntoIterator<Item = ScriptStep>) -> Vec<String> {
    let harness = PipelineHarness::new();
    let sink = RecordingSink::default();
    let log = Arc::clone(&sink.log);
    let source = ScriptedSource::new(steps);
    let waiting = source.waiting.clone();
    let recording = harness.run(scripted_pipeline(source, vec![sink]));
    let stop = async {
        waiting.cancelled().await;
        harness.stop.cancel();
    };
    let (ended, ()) = tokio::join!(recording, stop);
    ended.unwrap();
    std::mem::take(&mut log.lock().unwrap())
}

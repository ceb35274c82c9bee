//! A source that reads as it is written down, and a sink that notes what it is told.

use std::collections::VecDeque;

use super::*;
use crate::plugin::{Closing, FeedEvent, Gone, Rejected};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What the source does at one read.
pub(super) enum Step {
    /// It gives these, with a space between them.
    Message(&'static str),
    Refused,
    Wait,
    Closed,
    /// It gives messages without end.
    Flood,
}

pub(super) fn refused(topic: &str, words: &str) -> FeedEvent {
    let (cause, silent_for) = (Cause::Refused, None);
    FeedEvent::TopicDown { topic: topic.to_owned(), cause, detail: words.to_owned(), silent_for }
}

/// Reads as it is written down.
pub(super) struct Scripted {
    steps: VecDeque<Step>,
    events: Vec<FeedEvent>,
    /// Cancelled when it waits.
    pub(super) waits: CancellationToken,
}

impl Scripted {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let waits = CancellationToken::new();
        Self { steps: steps.into_iter().collect(), events: Vec::new(), waits }
    }
}

#[async_trait]
impl Source for Scripted {
    fn endpoint(&self) -> String {
        "a script".to_owned()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        // A wait is over when the connection is closed, and read again.
        match self.steps.pop_front() {
            Some(Step::Message(text)) => {
                for message in text.split(' ') {
                    batch.push(message.as_bytes());
                }
            }
            Some(Step::Refused) => {
                self.events.push(refused("a", "no"));
            }
            Some(Step::Closed) => return Err(Disconnect::new(Cause::Closed, "closed").into()),
            Some(Step::Flood) => {
                self.steps.push_front(Step::Flood);
                batch.push(b"x");
            }
            Some(Step::Wait) | None => {
                self.waits.cancel();
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }

    fn events(&mut self) -> Vec<FeedEvent> {
        std::mem::take(&mut self.events)
    }

    fn close(&mut self) -> Closing {
        Closing::Draining
    }
}

/// Notes what it is told, or is gone.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) said: Arc<Mutex<Vec<String>>>,
    pub(super) gone: bool,
    /// Fails, and may heal.
    pub(super) fails: bool,
    pub(super) keeps_rejected: bool,
}

impl Sink for Notes {
    fn destination(&self) -> String {
        "notes".to_owned()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        if self.gone {
            return Err(Gone("it is gone".to_owned()).into());
        }
        if self.fails {
            return Err("it fails".into());
        }
        let lines = batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
        self.said.lock().unwrap().extend(lines);
        Ok(())
    }

    fn reject(&mut self, _: &[Rejected]) -> Result<(), BoxError> {
        self.write(&Batch::new())
    }

    fn keeps_rejected(&self) -> bool {
        self.keeps_rejected
    }

    fn event(&mut self, _: UnixNanos, event: &FeedEvent) -> Result<(), BoxError> {
        let said = match event {
            FeedEvent::Down { cause, silent_since, .. } => {
                format!("down {} {}", cause.as_str(), silent_since.is_some())
            }
            FeedEvent::TopicDown { topic, cause, .. } => format!("{} {topic}", cause.as_str()),
            FeedEvent::Dropped { messages, cause, .. } => {
                format!("dropped {messages} {}", cause.as_str())
            }
            _ => return Ok(()),
        };
        self.said.lock().unwrap().push(said);
        Ok(())
    }
}

pub(super) fn pipeline(source: impl Source + 'static, sinks: Vec<Notes>) -> Pipeline {
    Pipeline {
        sources: vec![Box::new(source)],
        sinks: sinks.into_iter().map(|sink| named(Box::new(sink))).collect(),
        shutdown_timeout: PATIENCE,
        ..Bench::pipeline(Numbers::until(0), Memory::default(), Overflow::Block)
    }
}

/// Stops the recording of a script when it waits; gives what the sink was told.
pub(super) async fn stopped(steps: impl IntoIterator<Item = Step>) -> Vec<String> {
    let (bench, notes) = (Bench::new(), Notes::default());
    let said = Arc::clone(&notes.said);
    let source = Scripted::new(steps);
    let waits = source.waits.clone();
    let recording = bench.run(pipeline(source, vec![notes]));
    let stop = async {
        waits.cancelled().await;
        bench.stop.cancel();
    };
    let (ended, ()) = tokio::join!(recording, stop);
    ended.unwrap();
    std::mem::take(&mut said.lock().unwrap())
}

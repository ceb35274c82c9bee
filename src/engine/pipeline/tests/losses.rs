//! The dates of what is lost.

use super::scripted::{RecordingSink, ScriptStep, ScriptedSource, scripted_pipeline};
use super::*;
use crate::plugin::{DrainStatus, DropCause, SourceEvent, Stage};

/// The time for which the process is held up.
const HOLD_UP: Duration = Duration::from_secs(3);

/// A source whose second read waits for half a second, and returns `b` and leaves out a message.
struct LateSource {
    reads: u32,
    stats: Arc<PipelineStats>,
}

#[async_trait]
impl Source for LateSource {
    fn endpoint(&self) -> String {
        "late".to_owned()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        self.reads += 1;
        match self.reads {
            1 => drop(batch.push(b"a")),
            2 => {
                tokio::time::sleep(HOLD_UP / 6).await;
                self.stats.report_undecodable(1, "it is not text");
                batch.push(b"b");
            }
            _ => std::future::pending().await,
        }
        Ok(())
    }
}

/// A sink that waits with its first message, and keeps when the first of what was dropped was sent.
struct HeldUpSink {
    permits: Receiver<()>,
    drops: Arc<Mutex<Vec<(DropCause, UnixNanos)>>>,
}

impl Sink for HeldUpSink {
    fn destination(&self) -> String {
        "memory".to_owned()
    }

    fn write(&mut self, _: &Batch) -> Result<(), BoxError> {
        let _permit = self.permits.recv();
        Ok(())
    }

    fn on_event(&mut self, _: UnixNanos, event: &SourceEvent) -> Result<(), BoxError> {
        if let SourceEvent::Dropped { since, cause, .. } = event {
            self.drops.lock().unwrap().push((*cause, *since));
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn drops_behind_a_hold_up_are_dated_to_its_begin() {
    let harness = PipelineHarness::new();
    let drops = Arc::<Mutex<Vec<_>>>::default();
    let (permit, permits) = sync_channel(0);
    let sink = HeldUpSink { permits, drops: Arc::clone(&drops) };
    let source = LateSource { reads: 0, stats: Arc::clone(&harness.stats) };
    let pipeline = Pipeline {
        sources: vec![Box::new(source)],
        max_messages: 1,
        ..PipelineHarness::pipeline(NumberSource::until(0), sink, Overflow::DropNewest)
    };
    let stop = harness.stop.clone();
    let stats = Arc::clone(&harness.stats);
    let hold_up = async {
        while stats.received.get() == 0 {
            tokio::task::yield_now().await;
        }
        // The connection waits for its next message.
        tokio::task::yield_now().await;
        tokio::time::advance(HOLD_UP).await;
        while stats.dropped.get() == 0 {
            tokio::task::yield_now().await;
        }
        drop(permit);
        // The pipeline thread lives in real time.
        tokio::time::resume();
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(harness.run(pipeline), hold_up);
    ended.unwrap();
    // The wall clock of the harness stands still: it shows the time after the hold-up.
    let begin = UnixNanos::from_seconds(3600).saturating_sub(HOLD_UP);
    let mut drops = std::mem::take(&mut *drops.lock().unwrap());
    drops.sort_by_key(|(cause, _)| cause.as_str());
    assert_eq!(drops, [(DropCause::Overflow, begin), (DropCause::Undecodable, begin)]);
}

/// A stage that holds back every message until it is closed.
#[derive(Default)]
struct HoldingStage {
    held: Batch,
    received: Option<UnixNanos>,
}

impl Stage for HoldingStage {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        self.received.get_or_insert(batch.received());
        for record in batch.records() {
            self.held.push(record.payload);
        }
        batch.clear();
        Ok(())
    }

    fn held_since(&self) -> Option<UnixNanos> {
        self.received
    }

    fn close(&mut self, batch: &mut Batch) -> Result<DrainStatus, BoxError> {
        std::mem::swap(batch, &mut self.held);
        self.received = None;
        Ok(DrainStatus::Done)
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_though_a_stage_holds_messages_back() {
    let harness = PipelineHarness::new();
    let sink = RecordingSink::default();
    let log = Arc::clone(&sink.log);
    let stage: Box<dyn Stage> = Box::new(HoldingStage::default());
    let pipeline = Pipeline {
        stages: vec![NamedPlugin::new(
            stage,
            CommonKeys::defaults_for(PluginKind::Stage),
            Arc::new(PluginStats::new("stages[0] (holding)")),
        )],
        ..scripted_pipeline(
            ScriptedSource::new([ScriptStep::Message("1"), ScriptStep::Close]),
            vec![sink],
        )
    };
    let stop = harness.stop.clone();
    let stop_when_told = async {
        while log.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(harness.run(pipeline), stop_when_told);
    ended.unwrap();
    let mut log = std::mem::take(&mut *log.lock().unwrap());
    log.dedup();
    assert_eq!(log, ["behind", "down closed false", "1"]);
}

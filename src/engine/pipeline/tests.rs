//! Pipelines with sources and sinks that do what a test needs.

mod connection_end;
mod flapping;
mod losses;
mod overlap;
mod scripted;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use async_trait::async_trait;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::base::time::{ManualClock, UnixNanos};
use crate::metrics::PluginStats;
use crate::plugin::batch::Batch;
use crate::plugin::{
    CommonKeys, ConnectionEvent, Disconnect, DownCause, PluginKind, SourceError, Subscription,
};

/// Number of messages in each batch of [`NumberSource`].
const PER_BATCH: u64 = 10;

/// A source that returns numbers as fast as they are taken, up to an end, and then stalls or ends.
struct NumberSource {
    next: u64,
    end: u64,
    stalls_at_end: bool,
    /// Number of connects that fail before the first that succeeds.
    failing_connects: u32,
    /// What the second batch waits for.
    second_batch: Option<Arc<Notify>>,
}

impl NumberSource {
    fn until(end: u64) -> Self {
        Self { next: 0, end, stalls_at_end: false, failing_connects: 0, second_batch: None }
    }
}

#[async_trait]
impl Source for NumberSource {
    fn endpoint(&self) -> String {
        "numbers".to_owned()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        if self.failing_connects > 0 {
            self.failing_connects -= 1;
            return Err(Disconnect::new(DownCause::Connect, "not yet").into());
        }
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        if self.next >= self.end {
            if self.stalls_at_end {
                std::future::pending::<()>().await;
            }
            return Err(SourceError::Ended);
        }
        if self.next > 0
            && let Some(second_batch) = self.second_batch.take()
        {
            second_batch.notified().await;
        }
        for _ in 0..PER_BATCH {
            batch.push(self.next.to_string().as_bytes());
            self.next += 1;
        }
        Ok(())
    }
}

type SharedBuffer = Arc<Mutex<Vec<u8>>>;

/// A sink that keeps lines in memory. It can be held up, and can fail.
#[derive(Default)]
struct MemorySink {
    lines: SharedBuffer,
    /// Each write waits for a message here, until the channel is closed.
    write_permits: Option<Receiver<()>>,
    failures: u32,
    panics: bool,
}

impl Sink for MemorySink {
    fn destination(&self) -> String {
        "memory".to_owned()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        assert!(!self.panics, "the sink panics");
        if let Some(permits) = &self.write_permits
            && permits.recv().is_err()
        {
            self.write_permits = None;
        }
        if self.failures > 0 {
            self.failures -= 1;
            return Err("the disk is full".into());
        }
        self.lines.lock().unwrap().extend_from_slice(batch.as_lines());
        Ok(())
    }
}

/// A sink that joins batches until the flush, which waits for a message, until the channel is
/// closed.
struct JoiningSink {
    lines: SharedBuffer,
    joined: Batch,
    flush_permits: Receiver<()>,
    /// Notified when the first flush has begun.
    first_flush: Arc<Notify>,
    /// Number of messages of each flush.
    flushed: Arc<Mutex<Vec<usize>>>,
}

impl Sink for JoiningSink {
    fn destination(&self) -> String {
        "memory".to_owned()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        for record in batch.records() {
            self.joined.push(record.payload);
        }
        Ok(())
    }

    fn buffered(&self) -> u64 {
        self.joined.len() as u64
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        if !self.joined.is_empty() {
            self.first_flush.notify_one();
            let _closed = self.flush_permits.recv();
            self.lines.lock().unwrap().extend_from_slice(self.joined.as_lines());
            self.flushed.lock().unwrap().push(self.joined.len());
            self.joined.clear();
        }
        Ok(())
    }
}

/// Returns a required sink.
fn required_sink(sink: Box<dyn Sink>) -> NamedPlugin<dyn Sink> {
    NamedPlugin::new(
        sink,
        CommonKeys::defaults_for(PluginKind::Sink),
        Arc::new(PluginStats::new("sinks[0] (memory)")),
    )
}

struct PipelineHarness {
    stats: Arc<PipelineStats>,
    lines: SharedBuffer,
    stop: CancellationToken,
}

impl PipelineHarness {
    fn new() -> Self {
        let stats = Arc::new(PipelineStats::new());
        Self { stats, lines: SharedBuffer::default(), stop: CancellationToken::new() }
    }

    fn sink(&self) -> MemorySink {
        MemorySink { lines: Arc::clone(&self.lines), ..MemorySink::default() }
    }

    fn pipeline(source: NumberSource, sink: impl Sink + 'static, overflow: Overflow) -> Pipeline {
        Pipeline {
            name: "main".to_owned(),
            sources: vec![Box::new(source)],
            topic_selector: None,
            stages: Vec::new(),
            sinks: vec![required_sink(Box::new(sink))],
            max_messages: 100,
            max_bytes: 1 << 20,
            overflow,
            shutdown_timeout: Duration::from_millis(200),
            control: Arc::default(),
            sink_dirs: Vec::new(),
        }
    }

    async fn run(&self, pipeline: Pipeline) -> Result<(), PipelineError> {
        let clock = Arc::new(ManualClock::new(UnixNanos::from_seconds(3600)));
        let now = Instant::now();
        pipeline.run(Arc::clone(&self.stats), clock, now, self.stop.clone()).await
    }

    fn recorded(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }
}

fn number_lines(range: std::ops::Range<u64>) -> String {
    let lines: Vec<_> = range.map(|number| number.to_string() + "\n").collect();
    lines.concat()
}

#[tokio::test]
async fn everything_arrives_in_order_and_is_counted() {
    let harness = PipelineHarness::new();
    let pipeline =
        PipelineHarness::pipeline(NumberSource::until(50_000), harness.sink(), Overflow::Block);
    harness.run(pipeline).await.unwrap();
    assert!(harness.recorded() == number_lines(0..50_000));
    assert_eq!((harness.stats.received.get(), harness.stats.written.get()), (50_000, 50_000));
    assert_eq!(harness.stats.dropped.get(), 0);
}

#[tokio::test]
async fn a_slow_sink_blocks_the_source_without_loss() {
    let harness = PipelineHarness::new();
    let (permit, write_permits) = sync_channel(0);
    let sink = MemorySink { write_permits: Some(write_permits), ..harness.sink() };
    let pipeline = PipelineHarness::pipeline(NumberSource::until(1_000), sink, Overflow::Block);
    std::thread::spawn(move || release_writes(&permit, 50));
    harness.run(pipeline).await.unwrap();
    assert!(harness.recorded() == number_lines(0..1_000));
}

fn release_writes(permit: &SyncSender<()>, times: u32) {
    for _ in 0..times {
        permit.send(()).unwrap();
    }
}

#[tokio::test]
async fn drop_newest_keeps_the_oldest_and_counts_the_rest() {
    let harness = PipelineHarness::new();
    let (permit, write_permits) = sync_channel::<()>(0);
    let sink = MemorySink { write_permits: Some(write_permits), ..harness.sink() };
    let mut source = NumberSource::until(1_000);
    source.stalls_at_end = true;
    let pipeline = PipelineHarness::pipeline(source, sink, Overflow::DropNewest);
    let stats = Arc::clone(&harness.stats);
    let stop = harness.stop.clone();
    let release = async move {
        while stats.received.get() < 1_000 {
            tokio::task::yield_now().await;
        }
        drop(permit);
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(harness.run(pipeline), release);
    ended.unwrap();
    // A hundred fit, ten of which are with the sink.
    assert_eq!(harness.stats.dropped.get(), 900);
    assert_eq!(harness.recorded(), number_lines(0..100));
}

#[tokio::test]
async fn what_waits_during_a_slow_write_is_written_together_and_counts_until_then() {
    let harness = PipelineHarness::new();
    let (permit, flush_permits) = sync_channel::<()>(0);
    let flushed = Arc::<Mutex<Vec<usize>>>::default();
    let lines = Arc::clone(&harness.lines);
    let first_flush = Arc::<Notify>::default();
    let sink = JoiningSink {
        lines,
        joined: Batch::new(),
        flush_permits,
        first_flush: Arc::clone(&first_flush),
        flushed: Arc::clone(&flushed),
    };
    let mut source = NumberSource::until(1_000);
    source.stalls_at_end = true;
    source.second_batch = Some(first_flush);
    let pipeline = PipelineHarness::pipeline(source, sink, Overflow::DropNewest);
    let stats = Arc::clone(&harness.stats);
    let stop = harness.stop.clone();
    let release = async move {
        while stats.received.get() < 1_000 {
            tokio::task::yield_now().await;
        }
        drop(permit);
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(harness.run(pipeline), release);
    ended.unwrap();
    // A hundred fit, with the ten that the sink has.
    assert_eq!(harness.stats.dropped.get(), 900);
    assert_eq!(harness.recorded(), number_lines(0..100));
    let flushed = flushed.lock().unwrap();
    assert!(flushed[0] == 10 && flushed.len() < 10, "{flushed:?}");
}

#[tokio::test]
async fn a_failed_write_is_retried_until_it_succeeds() {
    let harness = PipelineHarness::new();
    let sink = MemorySink { failures: 2, ..harness.sink() };
    let pipeline = PipelineHarness::pipeline(NumberSource::until(500), sink, Overflow::Block);
    harness.run(pipeline).await.unwrap();
    assert!(harness.recorded() == number_lines(0..500));
    assert_eq!(harness.stats.sink_errors.get(), 2);
}

#[tokio::test]
async fn a_shutdown_timeout_reports_the_messages_lost() {
    let harness = PipelineHarness::new();
    let (permit, write_permits) = sync_channel::<()>(0);
    let sink = MemorySink { write_permits: Some(write_permits), ..harness.sink() };
    let mut source = NumberSource::until(100);
    source.stalls_at_end = true;
    let pipeline = PipelineHarness::pipeline(source, sink, Overflow::Block);
    let stats = Arc::clone(&harness.stats);
    let stop = harness.stop.clone();
    let release = async move {
        while stats.received.get() < 100 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(harness.run(pipeline), release);
    assert!(
        matches!(ended, Err(PipelineError::ShutdownTimeout { messages: 100, .. })),
        "{ended:?}"
    );
    drop(permit);
}

#[tokio::test]
async fn a_panic_of_the_pipeline_thread_ends_the_program_with_an_error() {
    let harness = PipelineHarness::new();
    let sink = MemorySink { panics: true, ..harness.sink() };
    let pipeline = PipelineHarness::pipeline(NumberSource::until(u64::MAX), sink, Overflow::Block);
    let ended = harness.run(pipeline).await;
    assert!(matches!(ended, Err(PipelineError::ThreadPanicked)), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn failed_connects_are_retried_with_growing_delays() {
    let harness = PipelineHarness::new();
    let mut source = NumberSource::until(10);
    source.failing_connects = 5;
    let begun = tokio::time::Instant::now();
    harness.run(PipelineHarness::pipeline(source, harness.sink(), Overflow::Block)).await.unwrap();
    // 0.5 s, then from the upper halves of 1, 2, 4 and 8 s.
    assert!(begun.elapsed() >= Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(harness.recorded(), number_lines(0..10));
    assert_eq!(harness.stats.snapshot().disconnects.get("connect"), Some(&5));
}

//! The end of connections, in a pipeline and in a group.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{Instant, timeout};

use super::scripted::{
    RecordingSink, ScriptStep, ScriptedSource, TEST_TIMEOUT, record_until_wait, scripted_pipeline,
    topic_refused,
};
use super::*;
use crate::engine::connection_group::ConnectionGroup;
use crate::engine::line_index::LineIndex;
use crate::engine::queue::{Consumer, QueueItem};
use crate::plugin::{ConnectionPolicy, OnError, PluginKind, SourceEvent};

#[tokio::test]
async fn an_unanswered_close_reports_a_gap_since_the_last_message() {
    use ScriptStep::{Close, Message, Wait};
    assert_eq!(record_until_wait([Message("1"), Wait, Message("2"), Close]).await, ["1", "2"]);
    assert_eq!(record_until_wait([Message("1"), Wait, Wait]).await, ["1", "down idle true"]);
    let mut log = record_until_wait([Message("1"), Wait, ScriptStep::Flood]).await;
    log.retain(|line| line != "x");
    assert_eq!(log, ["1", "down idle true"], "it was still sending");
}

/// Ends two connections at the stop, after a minute, and returns the silence of each reported gap
/// in seconds.
async fn silences_at_stop(end: impl Fn(&ConnectionGroup, [LineIndex; 2])) -> Vec<u64> {
    let harness = PipelineHarness::new();
    let (group, mut consumer) = test_group(&harness);
    let lines = [group.add_connection(), group.add_connection()];
    for line in lines {
        group.on_connected(line, &[]);
        group.on_event(line, ConnectionEvent::Subscribed);
        group.on_event(line, ConnectionEvent::Delivering);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    harness.stop.cancel();
    end(&group, lines);
    let mut silences = Vec::new();
    while let Some(item) = consumer.try_pop() {
        if let QueueItem::Event(at, SourceEvent::Down { silent_since, .. }) = item {
            silences.push((at.nanos() - silent_since.unwrap().nanos()) / 1_000_000_000);
        }
    }
    silences
}

#[tokio::test(start_paused = true)]
async fn at_stop_a_dead_connection_is_covered_by_a_live_one() {
    let silent = |seconds| {
        let silent_for = Duration::from_secs(seconds);
        Disconnect::new(DownCause::Idle, "no answer").with_silent_for(silent_for)
    };
    for (ended, dead) in [(0, 1), (1, 0)] {
        let one_answers = silences_at_stop(|group, lines| {
            group.on_closed(lines[ended]);
            group.on_lost(lines[dead], &silent(50));
        });
        assert_eq!(one_answers.await, Vec::<u64>::new());
    }
    let neither_answers = silences_at_stop(|group, [one, other]| {
        group.on_lost(one, &silent(2));
        group.on_lost(other, &silent(50));
    });
    assert_eq!(neither_answers.await, [2]);
    let never_together = silences_at_stop(|group, [one, other]| {
        group.on_closed(one);
        group.on_lost(other, &silent(70));
    });
    assert_eq!(never_together.await, [70], "the one was not established yet");
}

#[tokio::test(start_paused = true)]
async fn a_topic_only_one_connection_delivers_goes_down_with_it() {
    let harness = PipelineHarness::new();
    let (group, mut consumer) = test_group(&harness);
    let lines = [group.add_connection(), group.add_connection()];
    let topics = |topics: &[&str]| topics.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    for (line, topics) in lines.into_iter().zip([topics(&["a", "b"]), topics(&["a"])]) {
        group.on_connected(line, &[]);
        group.on_event(line, ConnectionEvent::TopicsActive(topics));
    }
    group.on_event(lines[1], topic_refused("b", "delisted"));
    for line in lines {
        group.on_event(line, ConnectionEvent::Subscribed);
        group.on_event(line, ConnectionEvent::Delivering);
    }
    let mut drain_events = || {
        let mut events = Vec::new();
        while let Some(item) = consumer.try_pop() {
            events.push(match item {
                QueueItem::Event(_, SourceEvent::TopicDown { topic, detail, silent_for, .. }) => {
                    format!("{topic} {detail} {silent_for:?}")
                }
                QueueItem::Event(_, SourceEvent::Subscribed { connection, topics }) => {
                    let mut topics = topics.to_vec();
                    topics.sort();
                    format!("{connection} {}", topics.join(" "))
                }
                QueueItem::Event(_, SourceEvent::Up { connection, .. }) => format!("{connection}"),
                QueueItem::Event(_, SourceEvent::Down { .. }) => "down".to_owned(),
                _ => continue,
            });
        }
        events
    };
    assert_eq!(drain_events(), ["1 a b", "2 a", "1", "2"]);
    let lost = Disconnect::new(DownCause::Closed, "closed");
    group.on_lost(lines[0], &lost.clone().with_silent_for(Duration::ZERO));
    assert_eq!(drain_events(), ["b delisted Some(0ns)"]);
    let late = group.add_connection();
    group.on_connected(late, &[]);
    group.on_event(late, ConnectionEvent::TopicsActive(topics(&["a"])));
    tokio::time::advance(Duration::from_secs(60)).await;
    group.on_lost(lines[1], &lost);
    assert_eq!(
        drain_events(),
        ["3 a", "down", "3 a"],
        "a connection without its answers covers nothing"
    );
    // A refusal that was not reported, because another connection delivered the topic.
    let other = group.add_connection();
    group.on_connected(other, &[]);
    group.on_event(other, ConnectionEvent::TopicsActive(topics(&["b"])));
    group.on_event(late, topic_refused("b", "delisted"));
    assert_eq!(drain_events(), ["4 b"]);
    group.on_lost(other, &lost);
    assert_eq!(drain_events(), ["down", "3 a"]);
    group.on_event(late, ConnectionEvent::Subscribed);
    assert_eq!(drain_events(), ["3", "b delisted None"]);
}

#[tokio::test]
async fn source_events_are_reported_during_the_drain() {
    use ScriptStep::{Close, Message, RefuseTopic, Wait};
    assert_eq!(
        record_until_wait([Message("1"), Wait, RefuseTopic, Close]).await,
        ["1", "refused a"]
    );
}

#[tokio::test]
async fn a_lost_required_sink_ends_the_recording_of_an_idle_source() {
    let harness = PipelineHarness::new();
    let other = RecordingSink::default();
    let gone = RecordingSink { is_gone: true, ..RecordingSink::default() };
    let log = Arc::clone(&other.log);
    let source = ScriptedSource::new([
        ScriptStep::Message("1"),
        ScriptStep::Wait,
        ScriptStep::Message("2"),
        ScriptStep::Close,
    ]);
    let ended =
        timeout(TEST_TIMEOUT, harness.run(scripted_pipeline(source, vec![gone, other]))).await;
    assert!(matches!(ended, Ok(Err(PipelineError::Pump(_)))), "{ended:?}");
    assert_eq!(*log.lock().unwrap(), ["1", "2"], "the other sink gets what was received");
}

#[tokio::test]
async fn a_required_sink_that_fails_at_the_stop_leaves_time_for_the_others() {
    let harness = PipelineHarness::new();
    let other = RecordingSink::default();
    let failing = RecordingSink { fails: true, ..RecordingSink::default() };
    let log = Arc::clone(&other.log);
    let missed = Arc::clone(&failing.log);
    let source = ScriptedSource::new([
        ScriptStep::Message("1"),
        ScriptStep::Message("2"),
        ScriptStep::Wait,
        ScriptStep::Close,
    ]);
    let waiting = source.waiting.clone();
    let pipeline = scripted_pipeline(source, vec![failing, other]);
    let recording = harness.run(Pipeline { shutdown_timeout: Duration::from_secs(4), ..pipeline });
    let stop = async {
        waiting.cancelled().await;
        harness.stop.cancel();
    };
    let (ended, ()) = tokio::join!(recording, stop);
    assert!(matches!(ended, Err(PipelineError::Pump(_))), "{ended:?}");
    assert_eq!(*log.lock().unwrap(), ["1", "2"]);
    assert_eq!(*missed.lock().unwrap(), ["dropped 2 given_up"]);
}

/// A stage that fails on every message `bad`.
struct FailingStage;

impl Stage for FailingStage {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        batch.expand(|record, lines| {
            if record.payload == b"bad" {
                return Err("bad".into());
            }
            lines.push(record.payload);
            Ok(())
        });
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_lost_on_a_rejected_message_costs_other_sinks_nothing() {
    let harness = PipelineHarness::new();
    let gone = RecordingSink { is_gone: true, keeps_rejected: true, ..RecordingSink::default() };
    let other = RecordingSink::default();
    let log = Arc::clone(&other.log);
    let source =
        ScriptedSource::new([ScriptStep::Message("bad 1"), ScriptStep::Wait, ScriptStep::Close]);
    let mut common = CommonKeys::defaults_for(PluginKind::Stage);
    common.on_error = OnError::Reject;
    let stats = Arc::new(PluginStats::new("stages[0] (picky)"));
    let pipeline = Pipeline {
        stages: vec![NamedPlugin::new(Box::new(FailingStage), common, stats)],
        ..scripted_pipeline(source, vec![gone, other])
    };
    let ended = timeout(TEST_TIMEOUT, harness.run(pipeline)).await;
    assert!(matches!(ended, Ok(Err(PipelineError::Pump(_)))), "{ended:?}");
    assert_eq!(*log.lock().unwrap(), ["1"]);
}

/// A source whose first two connections announce their end at once, and whose second is lost after
/// a second.
struct ClosingSource {
    attempts: Arc<AtomicU32>,
    attempt: u32,
    lost_at: Instant,
}

#[async_trait]
impl Source for ClosingSource {
    fn endpoint(&self) -> String {
        "a closing server".to_owned()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        self.attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.lost_at = Instant::now() + Duration::from_secs(1);
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        if self.attempt == 1 && Instant::now() >= self.lost_at {
            return Err(Disconnect::new(DownCause::Eof, "lost").into());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        batch.push(b"x");
        if self.attempt < 2 {
            events.push(ConnectionEvent::CloseAnnounced);
        }
        Ok(())
    }

    fn connection_policy(&self) -> ConnectionPolicy {
        ConnectionPolicy::default()
    }

    fn duplicate(&self) -> Option<Box<dyn Source>> {
        let attempts = Arc::clone(&self.attempts);
        Some(Box::new(Self { attempts, attempt: 0, lost_at: Instant::now() }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_announced_by_a_lost_replacement_does_not_apply_to_the_next() {
    let harness = PipelineHarness::new();
    let source = ClosingSource { attempts: Arc::default(), attempt: 0, lost_at: Instant::now() };
    let end = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        tokio::time::resume();
        harness.stop.cancel();
    };
    let (ended, ()) =
        tokio::join!(harness.run(scripted_pipeline(source, vec![RecordingSink::default()])), end);
    ended.unwrap();
    assert_eq!(harness.stats.snapshot().replaced, 1);
}

/// A source that can be duplicated a limited number of times.
struct LimitedSource {
    duplicates: AtomicU32,
    connects: Arc<AtomicU32>,
}

#[async_trait]
impl Source for LimitedSource {
    fn endpoint(&self) -> String {
        "few".to_owned()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        batch.push(b"x");
        Ok(())
    }

    fn connection_policy(&self) -> ConnectionPolicy {
        ConnectionPolicy {
            connections: 1,
            max_age: Some(Duration::from_secs(20)),
            ..ConnectionPolicy::default()
        }
    }

    fn duplicate(&self) -> Option<Box<dyn Source>> {
        let remaining = self.duplicates.load(Ordering::Relaxed).checked_sub(1)?;
        self.duplicates.store(remaining, Ordering::Relaxed);
        let connects = Arc::clone(&self.connects);
        Some(Box::new(Self { duplicates: AtomicU32::new(remaining), connects }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_replaced_goes_on() {
    let harness = PipelineHarness::new();
    let connects = Arc::<AtomicU32>::default();
    // The template, and one replacement.
    let source = LimitedSource { duplicates: AtomicU32::new(2), connects: Arc::clone(&connects) };
    let sink = RecordingSink::default();
    let log = Arc::clone(&sink.log);
    let end = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        tokio::time::resume();
        harness.stop.cancel();
    };
    let pipeline = Pipeline { max_messages: 1_000, ..scripted_pipeline(source, vec![sink]) };
    let (ended, ()) = tokio::join!(harness.run(pipeline), end);
    ended.unwrap();
    assert_eq!(connects.load(Ordering::Relaxed), 2);
    let messages = log.lock().unwrap().iter().filter(|line| *line == "x").count();
    assert!(messages > 100, "{messages}");
}

#[tokio::test]
async fn messages_after_the_end_of_the_pipeline_thread_are_counted_as_dropped() {
    let harness = PipelineHarness::new();
    for overflow in [Overflow::Block, Overflow::DropNewest] {
        let (group, consumer) = test_group(&harness);
        let group = ConnectionGroup { overflow, ..group };
        let line = group.add_connection();
        group.on_connected(line, &[]);
        drop(consumer);
        let mut batch = Batch::new();
        batch.push(b"1");
        batch.push(b"2");
        let before = harness.stats.dropped.get();
        group.deliver(line, batch, Instant::now(), Instant::now()).await;
        assert_eq!(harness.stats.dropped.get() - before, 2, "{overflow:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_begins_before_the_hold_up_behind_which_the_close_is_noticed() {
    let harness = PipelineHarness::new();
    for (pause, earlier) in [(0, 0), (3, 3)] {
        let (group, _consumer) = test_group(&harness);
        let line = group.add_connection();
        group.on_connected(line, &[]);
        group.stop.cancel();
        let pause = Duration::from_secs(pause);
        tokio::time::advance(pause).await;
        group.on_closed(line);
        assert_eq!(group.first_closed.get(), Some(&UnixNanos::from_seconds(3600 - earlier)));
    }
}

#[tokio::test]
async fn an_event_of_a_connection_that_is_not_established_reaches_the_sinks() {
    let harness = PipelineHarness::new();
    let (group, mut consumer) = test_group(&harness);
    let line = group.add_connection();
    group.on_event(line, topic_refused("a", "no"));
    assert!(matches!(
        consumer.try_pop(),
        Some(QueueItem::Event(_, SourceEvent::TopicDown { topic, .. })) if topic == "a"
    ));
}

#[tokio::test]
async fn a_panic_of_an_optional_sink_is_counted() {
    let harness = PipelineHarness::new();
    let mut optional = required_sink(Box::new(MemorySink { panics: true, ..harness.sink() }));
    optional.common.required = false;
    let sink = RecordingSink::default();
    let log = Arc::clone(&sink.log);
    let mut pipeline = scripted_pipeline(NumberSource::until(PER_BATCH), vec![sink]);
    pipeline.sinks.push(optional);
    harness.run(pipeline).await.unwrap();
    assert_eq!(harness.stats.sink_errors.get(), 1);
    assert_eq!(log.lock().unwrap().len() as u64, PER_BATCH, "the required sink goes on");
}

/// Creates a group with room for ten messages.
fn test_group(harness: &PipelineHarness) -> (ConnectionGroup, Consumer) {
    let (producer, consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    let group = ConnectionGroup {
        scope: Mutex::default(),
        producer,
        overflow: Overflow::Block,
        labeler: SharedLabeler::new(None, Arc::clone(&harness.stats)),
        stats: Arc::clone(&harness.stats),
        clock: Arc::new(ManualClock::new(UnixNanos::from_seconds(3600))),
        stop: harness.stop.clone(),
        drain_timeout: Duration::from_secs(2),
        connection_counter: Arc::default(),
        stall_detector: Arc::default(),
        read_frontiers: Arc::default(),
        first_closed: Arc::default(),
        state: std::sync::Mutex::default(),
        delivery_order: tokio::sync::Mutex::default(),
    };
    (group, consumer)
}

#[tokio::test]
async fn connections_waiting_for_queue_space_keep_their_order() {
    let harness = PipelineHarness::new();
    let (group, mut consumer) = test_group(&harness);
    let lines = [group.add_connection(), group.add_connection()];
    let batch = |numbers: std::ops::Range<u32>| {
        let mut batch = Batch::new();
        for number in numbers {
            batch.push(number.to_string().as_bytes());
        }
        batch
    };
    let now = Instant::now();
    let delivered = async {
        group.deliver(lines[0], batch(0..8), now, now).await;
        tokio::join!(
            group.deliver(lines[0], batch(8..16), now, now),
            group.deliver(lines[1], batch(16..17), now, now)
        )
    };
    let popped = async {
        let mut popped = Vec::new();
        while popped.len() < 3 {
            // Lets the deliveries run until they wait for room.
            tokio::task::yield_now().await;
            if let Some(QueueItem::Batch(batch)) = consumer.try_pop() {
                popped.push(batch.len());
                let taken = crate::engine::queue::batch_usage(&batch);
                consumer.recycle(batch, taken);
                consumer.release_held();
            }
        }
        popped
    };
    assert_eq!(tokio::join!(delivered, popped).1, [8, 8, 1]);
}

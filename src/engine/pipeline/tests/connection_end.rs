//! What is said and done around the end of connections, in a pipeline and in a group.

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
    let mut said = record_until_wait([Message("1"), Wait, ScriptStep::Flood]).await;
    said.retain(|said| said != "x");
    assert_eq!(said, ["1", "down idle true"], "it was still sending");
}

/// What is said of two connections that stood for a minute and leave at the stop.
async fn silences_at_stop(leave: impl Fn(&ConnectionGroup, [LineIndex; 2])) -> Vec<u64> {
    let bench = PipelineHarness::new();
    let (group, mut consumer) = test_group(&bench);
    let links = [group.add_connection(), group.add_connection()];
    for link in links {
        group.on_connected(link);
        group.on_subscribed(link);
        group.on_delivering(link);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    bench.stop.cancel();
    leave(&group, links);
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
    let silent = |seconds| Disconnect {
        silent_for: Some(Duration::from_secs(seconds)),
        ..Disconnect::new(DownCause::Idle, "no answer")
    };
    for (ended, dead) in [(0, 1), (1, 0)] {
        let first_ends = silences_at_stop(|group, links| {
            group.on_closed(links[ended]);
            group.on_lost(links[dead], &silent(50));
        });
        assert_eq!(first_ends.await, Vec::<u64>::new());
    }
    let neither_answers = silences_at_stop(|group, [one, other]| {
        group.on_lost(one, &silent(2));
        group.on_lost(other, &silent(50));
    });
    assert_eq!(neither_answers.await, [2]);
    let never_heard_together = silences_at_stop(|group, [one, other]| {
        group.on_closed(one);
        group.on_lost(other, &silent(70));
    });
    assert_eq!(never_heard_together.await, [70], "the one was not there yet");
}

#[tokio::test(start_paused = true)]
async fn a_topic_only_one_connection_delivers_goes_down_with_it() {
    let bench = PipelineHarness::new();
    let (group, mut consumer) = test_group(&bench);
    let links = [group.add_connection(), group.add_connection()];
    let these = |topics: &[&str]| topics.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    for (link, topics) in links.into_iter().zip([these(&["a", "b"]), these(&["a"])]) {
        group.on_connected(link);
        group.on_topics_active(link, topics);
    }
    group.on_source_event(links[1], topic_refused("b", "delisted"));
    for link in links {
        group.on_subscribed(link);
        group.on_delivering(link);
    }
    let mut said = || {
        let mut said = Vec::new();
        while let Some(item) = consumer.try_pop() {
            said.push(match item {
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
        said
    };
    assert_eq!(said(), ["1 a b", "2 a", "1", "2"]);
    let lost = Disconnect::new(DownCause::Closed, "closed");
    let silent_for = Some(Duration::ZERO);
    group.on_lost(links[0], &Disconnect { silent_for, ..lost.clone() });
    assert_eq!(said(), ["b delisted Some(0ns)"]);
    let late = group.add_connection();
    group.on_connected(late);
    group.on_topics_active(late, these(&["a"]));
    tokio::time::advance(Duration::from_secs(60)).await;
    group.on_lost(links[1], &lost);
    assert_eq!(said(), ["3 a", "down", "3 a"], "what is not answered yet covers nothing");
    // A refusal that was not told, since another connection brought it.
    let other = group.add_connection();
    group.on_connected(other);
    group.on_topics_active(other, these(&["b"]));
    group.on_source_event(late, topic_refused("b", "delisted"));
    assert_eq!(said(), ["4 b"]);
    group.on_lost(other, &lost);
    assert_eq!(said(), ["down", "3 a"]);
    group.on_subscribed(late);
    assert_eq!(said(), ["3", "b delisted None"]);
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
    let bench = PipelineHarness::new();
    let (notes, gone) =
        (RecordingSink::default(), RecordingSink { is_gone: true, ..RecordingSink::default() });
    let said = Arc::clone(&notes.log);
    let source = ScriptedSource::new([
        ScriptStep::Message("1"),
        ScriptStep::Wait,
        ScriptStep::Message("2"),
        ScriptStep::Close,
    ]);
    let ended =
        timeout(TEST_TIMEOUT, bench.run(scripted_pipeline(source, vec![gone, notes]))).await;
    assert!(matches!(ended, Ok(Err(PipelineError::Pump(_)))), "{ended:?}");
    assert_eq!(*said.lock().unwrap(), ["1", "2"], "the other gets what was received");
}

#[tokio::test]
async fn a_required_sink_that_fails_at_the_stop_leaves_time_for_the_others() {
    let (bench, notes) = (PipelineHarness::new(), RecordingSink::default());
    let fails = RecordingSink { fails: true, ..RecordingSink::default() };
    let (said, missed) = (Arc::clone(&notes.log), Arc::clone(&fails.log));
    let source = ScriptedSource::new([
        ScriptStep::Message("1"),
        ScriptStep::Message("2"),
        ScriptStep::Wait,
        ScriptStep::Close,
    ]);
    let waits = source.waiting.clone();
    let pipeline = scripted_pipeline(source, vec![fails, notes]);
    let recording = bench.run(Pipeline { shutdown_timeout: Duration::from_secs(4), ..pipeline });
    let stop = async {
        waits.cancelled().await;
        bench.stop.cancel();
    };
    let (ended, ()) = tokio::join!(recording, stop);
    assert!(matches!(ended, Err(PipelineError::Pump(_))), "{ended:?}");
    assert_eq!(*said.lock().unwrap(), ["1", "2"]);
    assert_eq!(*missed.lock().unwrap(), ["dropped 2 given_up"]);
}

/// Fails on every message that is `bad`.
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
    let bench = PipelineHarness::new();
    let gone = RecordingSink { is_gone: true, keeps_rejected: true, ..RecordingSink::default() };
    let notes = RecordingSink::default();
    let said = Arc::clone(&notes.log);
    let source =
        ScriptedSource::new([ScriptStep::Message("bad 1"), ScriptStep::Wait, ScriptStep::Close]);
    let mut common = CommonKeys::defaults_for(PluginKind::Stage);
    common.on_error = OnError::Reject;
    let stats = Arc::new(PluginStats::new("stages[0] (picky)"));
    let pipeline = Pipeline {
        stages: vec![NamedPlugin::new(Box::new(FailingStage), common, stats)],
        ..scripted_pipeline(source, vec![gone, notes])
    };
    let ended = timeout(TEST_TIMEOUT, bench.run(pipeline)).await;
    assert!(matches!(ended, Ok(Err(PipelineError::Pump(_)))), "{ended:?}");
    assert_eq!(*said.lock().unwrap(), ["1"]);
}

/// The first two connections announce their end at once, and the second is lost after a second.
struct ClosingSource {
    attempts: Arc<AtomicU32>,
    attempt: u32,
    lost_at: Instant,
}

#[async_trait]
impl Source for ClosingSource {
    fn endpoint(&self) -> String {
        "omens".to_owned()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.lost_at = Instant::now() + Duration::from_secs(1);
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        if self.attempt == 1 && Instant::now() >= self.lost_at {
            return Err(Disconnect::new(DownCause::Eof, "lost").into());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        batch.push(b"x");
        Ok(())
    }

    fn connection_policy(&self) -> ConnectionPolicy {
        ConnectionPolicy::default()
    }

    fn duplicate(&self) -> Option<Box<dyn Source>> {
        let attempts = Arc::clone(&self.attempts);
        Some(Box::new(Self { attempts, attempt: 0, lost_at: Instant::now() }))
    }

    fn has_announced_close(&self) -> bool {
        self.attempt < 2
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_announced_by_a_lost_replacement_does_not_apply_to_the_next() {
    let bench = PipelineHarness::new();
    let source = ClosingSource { attempts: Arc::default(), attempt: 0, lost_at: Instant::now() };
    let end = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        tokio::time::resume();
        bench.stop.cancel();
    };
    let (ended, ()) =
        tokio::join!(bench.run(scripted_pipeline(source, vec![RecordingSink::default()])), end);
    ended.unwrap();
    assert_eq!(bench.stats.snapshot().replaced, 1);
}

/// Can be duplicated so many times.
struct FewSource {
    duplicates: AtomicU32,
    connects: Arc<AtomicU32>,
}

#[async_trait]
impl Source for FewSource {
    fn endpoint(&self) -> String {
        "few".to_owned()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        batch.push(b"x");
        Ok(())
    }

    fn connection_policy(&self) -> ConnectionPolicy {
        ConnectionPolicy { connections: 1, max_age: Some(Duration::from_secs(20)) }
    }

    fn duplicate(&self) -> Option<Box<dyn Source>> {
        let left = self.duplicates.load(Ordering::Relaxed).checked_sub(1)?;
        self.duplicates.store(left, Ordering::Relaxed);
        let connects = Arc::clone(&self.connects);
        Some(Box::new(Self { duplicates: AtomicU32::new(left), connects }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_replaced_goes_on() {
    let bench = PipelineHarness::new();
    let connects = Arc::<AtomicU32>::default();
    // The template, and one replacement.
    let source = FewSource { duplicates: AtomicU32::new(2), connects: Arc::clone(&connects) };
    let sink = RecordingSink::default();
    let log = Arc::clone(&sink.log);
    let end = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        tokio::time::resume();
        bench.stop.cancel();
    };
    let pipeline = Pipeline { max_messages: 1_000, ..scripted_pipeline(source, vec![sink]) };
    let (ended, ()) = tokio::join!(bench.run(pipeline), end);
    ended.unwrap();
    assert_eq!(connects.load(Ordering::Relaxed), 2);
    let messages = log.lock().unwrap().iter().filter(|line| *line == "x").count();
    assert!(messages > 100, "{messages}");
}

#[tokio::test]
async fn messages_after_the_end_of_the_pipeline_thread_are_counted_as_dropped() {
    let bench = PipelineHarness::new();
    for overflow in [Overflow::Block, Overflow::DropNewest] {
        let (group, consumer) = test_group(&bench);
        let group = ConnectionGroup { overflow, ..group };
        let line = group.add_connection();
        group.on_connected(line);
        drop(consumer);
        let mut batch = Batch::new();
        batch.push(b"1");
        batch.push(b"2");
        let before = bench.stats.dropped.get();
        group.deliver(line, batch, Instant::now()).await;
        assert_eq!(bench.stats.dropped.get() - before, 2, "{overflow:?}");
    }
}

#[tokio::test]
async fn an_event_of_a_connection_that_is_not_established_reaches_the_sinks() {
    let bench = PipelineHarness::new();
    let (group, mut consumer) = test_group(&bench);
    let line = group.add_connection();
    let refused = topic_refused("a", "no");
    group.on_source_event(line, refused.clone());
    assert!(matches!(consumer.try_pop(), Some(QueueItem::Event(_, event)) if event == refused));
}

#[tokio::test]
async fn a_panic_of_an_optional_sink_is_counted() {
    let bench = PipelineHarness::new();
    let mut optional = required_sink(Box::new(MemorySink { panics: true, ..bench.sink() }));
    optional.common.required = false;
    let sink = RecordingSink::default();
    let log = Arc::clone(&sink.log);
    let mut pipeline = scripted_pipeline(NumberSource::until(PER_BATCH), vec![sink]);
    pipeline.sinks.push(optional);
    bench.run(pipeline).await.unwrap();
    assert_eq!(bench.stats.sink_errors.get(), 1);
    assert_eq!(log.lock().unwrap().len() as u64, PER_BATCH, "the required sink goes on");
}

/// A group with room for ten messages.
fn test_group(bench: &PipelineHarness) -> (ConnectionGroup, Consumer) {
    let (producer, consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    let group = ConnectionGroup {
        scope: SourceScope::default(),
        producer,
        overflow: Overflow::Block,
        labeler: SharedLabeler::new(None, Arc::clone(&bench.stats)),
        stats: Arc::clone(&bench.stats),
        clock: Arc::new(ManualClock::new(UnixNanos::from_seconds(3600))),
        stop: bench.stop.clone(),
        connection_counter: Arc::default(),
        stall_detector: Arc::default(),
        state: std::sync::Mutex::default(),
        delivery_order: tokio::sync::Mutex::default(),
    };
    (group, consumer)
}

#[tokio::test]
async fn connections_waiting_for_queue_space_keep_their_order() {
    let bench = PipelineHarness::new();
    let (group, mut consumer) = test_group(&bench);
    let links = [group.add_connection(), group.add_connection()];
    let batch = |numbers: std::ops::Range<u32>| {
        let mut batch = Batch::new();
        for number in numbers {
            batch.push(number.to_string().as_bytes());
        }
        batch
    };
    let now = Instant::now();
    let delivered = async {
        group.deliver(links[0], batch(0..8), now).await;
        tokio::join!(
            group.deliver(links[0], batch(8..16), now),
            group.deliver(links[1], batch(16..17), now)
        )
    };
    let popped = async {
        let mut popped = Vec::new();
        while popped.len() < 3 {
            // As far as they get before there is room.
            tokio::task::yield_now().await;
            if let Some(QueueItem::Batch(batch)) = consumer.try_pop() {
                popped.push(batch.len());
                let taken = crate::engine::queue::batch_usage(&batch);
                consumer.release(batch, taken);
            }
        }
        popped
    };
    assert_eq!(tokio::join!(delivered, popped).1, [8, 8, 1]);
}

//! What is said and done around the end of connections, in a pipeline and in a group.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{Instant, timeout};

use super::scripted::{Notes, PATIENCE, Scripted, Step, pipeline, refused, stopped};
use super::*;
use crate::pipeline::group::Group;
use crate::pipeline::queue::{Consumer, Item};
use crate::plugin::{FeedEvent, Upkeep};
use crate::registry::OnError;

#[tokio::test]
async fn a_server_that_does_not_answer_at_the_stop_may_have_been_dead_before() {
    use Step::{Closed, Message, Wait};
    assert_eq!(stopped([Message("1"), Wait, Message("2"), Closed]).await, ["1", "2"]);
    assert_eq!(stopped([Message("1"), Wait, Wait]).await, ["1", "down idle true"]);
    let mut said = stopped([Message("1"), Wait, Step::Flood]).await;
    said.retain(|said| said != "x");
    assert_eq!(said, ["1", "down idle true"], "it was still sending");
}

/// What is said of two connections that stood for a minute and leave at the stop.
async fn both_leave(leave: impl Fn(&Group, [usize; 2])) -> Vec<u64> {
    let bench = Bench::new();
    let (group, mut consumer) = group(&bench);
    let links = [group.join(), group.join()];
    for link in links {
        group.up(link);
        group.subscribed(link);
        group.settled(link);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    bench.stop.cancel();
    leave(&group, links);
    let mut silences = Vec::new();
    while let Some(item) = consumer.try_pop() {
        if let Item::Event(at, FeedEvent::Down { silent_since, .. }) = item {
            silences.push((at.nanos() - silent_since.unwrap().nanos()) / 1_000_000_000);
        }
    }
    silences
}

#[tokio::test(start_paused = true)]
async fn at_the_stop_a_connection_that_was_dead_is_covered_by_one_that_was_not() {
    let silent = |seconds| Disconnect {
        silent_for: Some(Duration::from_secs(seconds)),
        ..Disconnect::new(Cause::Idle, "no answer")
    };
    for (ended, dead) in [(0, 1), (1, 0)] {
        let first_ends = both_leave(|group, links| {
            group.ended(links[ended]);
            group.left(links[dead], &silent(50));
        });
        assert_eq!(first_ends.await, Vec::<u64>::new());
    }
    let neither_answers = both_leave(|group, [one, other]| {
        group.left(one, &silent(2));
        group.left(other, &silent(50));
    });
    assert_eq!(neither_answers.await, [2]);
    let never_heard_together = both_leave(|group, [one, other]| {
        group.ended(one);
        group.left(other, &silent(70));
    });
    assert_eq!(never_heard_together.await, [70], "the one was not there yet");
}

#[tokio::test(start_paused = true)]
async fn what_one_server_refuses_and_another_sends_is_lost_when_that_one_goes() {
    let bench = Bench::new();
    let (group, mut consumer) = group(&bench);
    let links = [group.join(), group.join()];
    let these = |topics: &[&str]| topics.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    for (link, topics) in links.into_iter().zip([these(&["a", "b"]), these(&["a"])]) {
        group.up(link);
        group.come(link, topics);
    }
    group.tell_of(links[1], refused("b", "delisted"));
    for link in links {
        group.subscribed(link);
        group.settled(link);
    }
    let mut said = || {
        let mut said = Vec::new();
        while let Some(item) = consumer.try_pop() {
            said.push(match item {
                Item::Event(_, FeedEvent::TopicDown { topic, detail, silent_for, .. }) => {
                    format!("{topic} {detail} {silent_for:?}")
                }
                Item::Event(_, FeedEvent::Subscribed { connection, topics }) => {
                    let mut topics = topics.to_vec();
                    topics.sort();
                    format!("{connection} {}", topics.join(" "))
                }
                Item::Event(_, FeedEvent::Up { connection, .. }) => format!("{connection}"),
                Item::Event(_, FeedEvent::Down { .. }) => "down".to_owned(),
                _ => continue,
            });
        }
        said
    };
    assert_eq!(said(), ["1 a b", "2 a", "1", "2"]);
    let lost = Disconnect::new(Cause::Closed, "closed");
    let silent_for = Some(Duration::ZERO);
    group.left(links[0], &Disconnect { silent_for, ..lost.clone() });
    assert_eq!(said(), ["b delisted Some(0ns)"]);
    let late = group.join();
    group.up(late);
    group.come(late, these(&["a"]));
    tokio::time::advance(Duration::from_secs(60)).await;
    group.left(links[1], &lost);
    assert_eq!(said(), ["3 a", "down", "3 a"], "what is not answered yet covers nothing");
    // A refusal that was not told, since another connection brought it.
    let other = group.join();
    group.up(other);
    group.come(other, these(&["b"]));
    group.tell_of(late, refused("b", "delisted"));
    assert_eq!(said(), ["4 b"]);
    group.left(other, &lost);
    assert_eq!(said(), ["down", "3 a"]);
    group.subscribed(late);
    assert_eq!(said(), ["3", "b delisted None"]);
}

#[tokio::test]
async fn what_a_source_has_to_tell_is_told_while_it_is_drained() {
    use Step::{Closed, Message, Refused, Wait};
    assert_eq!(stopped([Message("1"), Wait, Refused, Closed]).await, ["1", "refused a"]);
}

#[tokio::test]
async fn a_required_sink_that_is_gone_ends_the_recording_though_nothing_more_comes() {
    let bench = Bench::new();
    let (notes, gone) = (Notes::default(), Notes { gone: true, ..Notes::default() });
    let said = Arc::clone(&notes.said);
    let source = Scripted::new([Step::Message("1"), Step::Wait, Step::Message("2"), Step::Closed]);
    let ended = timeout(PATIENCE, bench.run(pipeline(source, vec![gone, notes]))).await;
    assert!(matches!(ended, Ok(Err(PipelineError::Pump(_)))), "{ended:?}");
    assert_eq!(*said.lock().unwrap(), ["1", "2"], "the other gets what was received");
}

#[tokio::test]
async fn a_required_sink_that_fails_at_the_stop_leaves_time_for_the_others() {
    let (bench, notes) = (Bench::new(), Notes::default());
    let fails = Notes { fails: true, ..Notes::default() };
    let (said, missed) = (Arc::clone(&notes.said), Arc::clone(&fails.said));
    let source = Scripted::new([Step::Message("1"), Step::Message("2"), Step::Wait, Step::Closed]);
    let waits = source.waits.clone();
    let pipeline = pipeline(source, vec![fails, notes]);
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
struct Picky;

impl Stage for Picky {
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
async fn a_sink_that_is_gone_when_something_is_set_aside_costs_the_others_nothing() {
    let bench = Bench::new();
    let gone = Notes { gone: true, keeps_rejected: true, ..Notes::default() };
    let notes = Notes::default();
    let said = Arc::clone(&notes.said);
    let source = Scripted::new([Step::Message("bad 1"), Step::Wait, Step::Closed]);
    let mut common = Common::of("stage");
    common.on_error = OnError::Reject;
    let stats = Arc::new(PluginStats::new("stages[0] (picky)"));
    let pipeline = Pipeline {
        stages: vec![Named::new(Box::new(Picky), common, stats)],
        ..pipeline(source, vec![gone, notes])
    };
    let ended = timeout(PATIENCE, bench.run(pipeline)).await;
    assert!(matches!(ended, Ok(Err(PipelineError::Pump(_)))), "{ended:?}");
    assert_eq!(*said.lock().unwrap(), ["1"]);
}

/// The first two connections announce their end at once, and the second is lost after a second.
struct Omens {
    attempts: Arc<AtomicU32>,
    attempt: u32,
    lost_at: Instant,
}

#[async_trait]
impl Source for Omens {
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
            return Err(Disconnect::new(Cause::Eof, "lost").into());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        batch.push(b"x");
        Ok(())
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::default()
    }

    fn again(&self) -> Option<Box<dyn Source>> {
        let attempts = Arc::clone(&self.attempts);
        Some(Box::new(Self { attempts, attempt: 0, lost_at: Instant::now() }))
    }

    fn is_ending(&self) -> bool {
        self.attempt < 2
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_replacement_announced_is_not_held_against_the_next() {
    let bench = Bench::new();
    let source = Omens { attempts: Arc::default(), attempt: 0, lost_at: Instant::now() };
    let end = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        tokio::time::resume();
        bench.stop.cancel();
    };
    let (ended, ()) = tokio::join!(bench.run(pipeline(source, vec![Notes::default()])), end);
    ended.unwrap();
    assert_eq!(bench.stats.snapshot().replaced, 1);
}

/// A group with room for ten messages.
fn group(bench: &Bench) -> (Group, Consumer) {
    let (producer, consumer) = queue(Limits { messages: 10, bytes: 1 << 20 });
    let group = Group {
        scope: Scope { feed: 0, feeds: 1, topics: Vec::new().into() },
        producer,
        overflow: Overflow::Block,
        labels: Labels::new(None, Arc::clone(&bench.stats)),
        stats: Arc::clone(&bench.stats),
        clock: Arc::new(ManualClock::at(UnixNanos::from_seconds(3600))),
        stop: bench.stop.clone(),
        connections: Arc::default(),
        pulse: Arc::default(),
        state: std::sync::Mutex::default(),
        order: tokio::sync::Mutex::default(),
    };
    (group, consumer)
}

#[tokio::test]
async fn of_two_connections_none_overtakes_the_other_while_there_is_no_room() {
    let bench = Bench::new();
    let (group, mut consumer) = group(&bench);
    let links = [group.join(), group.join()];
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
            if let Some(Item::Batch(batch)) = consumer.try_pop() {
                popped.push(batch.len());
                let taken = crate::pipeline::queue::weight(&batch);
                consumer.give_back(batch, taken);
            }
        }
        popped
    };
    assert_eq!(tokio::join!(delivered, popped).1, [8, 8, 1]);
}

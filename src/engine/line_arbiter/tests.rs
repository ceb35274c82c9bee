use std::time::Duration;

use proptest::prelude::*;

use super::expected_copies::{COPY_WINDOW, MAX_EXPECTED};
use super::*;
use crate::engine::overlap::OVERLAP_DURATION;

/// A step of a simulation.
#[derive(Debug, Clone, Copy)]
enum ArbiterStep {
    /// A line delivers the next message that it has not lost.
    Deliver(usize),
    /// The server sends a message, of which there are a few kinds; each line may lose its copy.
    Send { kind: u8, lost: [bool; 2] },
    /// A connection is lost with all messages in flight, and made again.
    Reconnect(usize),
    /// A line is known to deliver everything.
    MarkDelivering(usize),
}

fn step() -> impl Strategy<Value = ArbiterStep> {
    prop_oneof![
        4 => (0..2_usize).prop_map(ArbiterStep::Deliver),
        3 => (0..4_u8, any::<[bool; 2]>()).prop_map(|(kind, lost)| ArbiterStep::Send { kind, lost }),
        1 => (0..2_usize).prop_map(ArbiterStep::Reconnect),
        1 => (0..2_usize).prop_map(ArbiterStep::MarkDelivering),
    ]
}

/// A server with two connections to a recorder.
struct ArbiterSimulation {
    arbiter: LineArbiter,
    lines: [LineIndex; 2],
    in_flight: [Vec<String>; 2],
    written: Vec<String>,
    now: Instant,
}

impl ArbiterSimulation {
    fn new() -> Self {
        let mut arbiter = LineArbiter::default();
        let now = Instant::now();
        let lines = [arbiter.add_line(now), arbiter.add_line(now)];
        Self { arbiter, lines, in_flight: Default::default(), written: Vec::new(), now }
    }

    fn deliver(&mut self, line: usize, count: usize) {
        let count = count.min(self.in_flight[line].len());
        let mut batch = Batch::new();
        for message in self.in_flight[line].drain(..count) {
            batch.push(message.as_bytes());
        }
        self.arbiter.remove_duplicates(self.lines[line], &mut batch, self.now);
        let texts = batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
        self.written.extend(texts);
    }

    fn reconnect(&mut self, line: usize) {
        self.in_flight[line].clear();
        self.arbiter.remove_line(self.lines[line]);
        self.lines[line] = self.arbiter.add_line(self.now);
    }

    fn mark_delivering(&mut self, line: usize) {
        self.arbiter.mark_delivering(self.lines[line], self.now);
    }

    fn deliver_all(&mut self) {
        self.deliver(0, usize::MAX);
        self.deliver(1, usize::MAX);
    }

    fn is_empty(&self) -> bool {
        self.arbiter.lines.iter().all(ExpectedCopies::is_empty)
    }
}

fn count(messages: &[String], message: &str) -> usize {
    messages.iter().filter(|other| *other == message).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_message_delivered_by_any_connection_is_written(
        steps in prop::collection::vec(step(), 0..60),
        known in any::<bool>(),
    ) {
        let mut simulation = ArbiterSimulation::new();
        let confirm = |simulation: &mut ArbiterSimulation, line| {
            if known {
                simulation.mark_delivering(line);
            }
        };
        confirm(&mut simulation, 0);
        confirm(&mut simulation, 1);
        let mut delivered = Vec::new();
        for (sent, step) in steps.into_iter().enumerate() {
            match step {
                ArbiterStep::Send { lost, .. } => for (line, lost) in lost.into_iter().enumerate() {
                    if !lost {
                        // No two messages are equal.
                        simulation.in_flight[line].push(sent.to_string());
                    }
                },
                ArbiterStep::Deliver(line) => {
                    delivered.extend(simulation.in_flight[line].first().cloned());
                    simulation.deliver(line, 1);
                }
                ArbiterStep::Reconnect(line) => {
                    simulation.reconnect(line);
                    confirm(&mut simulation, line);
                }
                ArbiterStep::MarkDelivering(line) => simulation.mark_delivering(line),
            }
        }
        delivered.sort();
        delivered.dedup();
        simulation.written.sort();
        if !known {
            // A copy that is expected from a line before it is known to deliver everything may be
            // written twice when the other connection is lost.
            simulation.written.dedup();
        }
        prop_assert_eq!(simulation.written, delivered);
    }

    #[test]
    fn each_copy_is_written_once_when_one_connection_is_complete(
        steps in prop::collection::vec(step(), 0..60),
        whole in 0..2_usize,
    ) {
        let mut simulation = ArbiterSimulation::new();
        simulation.mark_delivering(whole);
        let mut sent = Vec::new();
        for step in steps {
            match step {
                ArbiterStep::Send { kind, mut lost } => {
                    lost[whole] = false;
                    sent.push(kind.to_string());
                    for (line, lost) in lost.into_iter().enumerate() {
                        if !lost {
                            simulation.in_flight[line].push(kind.to_string());
                        }
                    }
                }
                ArbiterStep::Deliver(line) => simulation.deliver(line, 1),
                ArbiterStep::Reconnect(line) if line != whole => simulation.reconnect(line),
                ArbiterStep::Reconnect(_) => {}
                ArbiterStep::MarkDelivering(line) => simulation.mark_delivering(line),
            }
        }
        simulation.deliver_all();
        for kind in 0..4 {
            let kind = kind.to_string();
            prop_assert_eq!(count(&simulation.written, &kind), count(&sent, &kind));
        }
    }

    #[test]
    fn the_connection_with_most_copies_decides_how_many_are_written(
        sent in prop::collection::vec((0..3_u8, any::<[bool; 2]>()), 0..40),
        order in prop::collection::vec(0..2_usize, 0..100),
    ) {
        let mut simulation = ArbiterSimulation::new();
        for (kind, lost) in sent {
            for (line, lost) in lost.into_iter().enumerate() {
                if !lost {
                    simulation.in_flight[line].push(kind.to_string());
                }
            }
        }
        let delivered = simulation.in_flight.clone();
        for line in order {
            simulation.deliver(line, 1);
        }
        simulation.deliver_all();
        for kind in 0..3 {
            let kind = kind.to_string();
            let most = delivered.iter().map(|line| count(line, &kind)).max().unwrap();
            prop_assert_eq!(count(&simulation.written, &kind), most);
        }
    }
}

#[test]
fn connections_in_step_hold_no_expected_copies() {
    let mut simulation = ArbiterSimulation::new();
    for number in 0..1_000 {
        for line in 0..2 {
            simulation.in_flight[line].push(number.to_string());
            simulation.deliver(line, 1);
        }
    }
    assert_eq!(simulation.written.len(), 1_000);
    assert!(simulation.is_empty());
}

#[test]
fn a_single_connection_is_not_deduplicated() {
    let mut arbiter = LineArbiter::default();
    let line = arbiter.add_line(Instant::now());
    let mut batch = Batch::new();
    batch.push(b"a");
    batch.push(b"a");
    assert_eq!(
        arbiter.remove_duplicates(line, &mut batch, Instant::now()),
        ArbiterCounts::default()
    );
    assert_eq!(batch.len(), 2);
}

#[test]
fn expected_copies_expire_and_count_as_unpaired() {
    let begun = Instant::now();
    let mut arbiter = LineArbiter::default();
    let first = arbiter.add_line(begun);
    let second = arbiter.add_line(begun);
    arbiter.mark_delivering(second, begun);
    let mut deliver = |line, after: u32| {
        let mut batch = Batch::new();
        batch.push(b"a");
        let counts = arbiter.remove_duplicates(line, &mut batch, begun + COPY_WINDOW / 4 * after);
        (batch.len(), counts.duplicates, counts.unpaired)
    };
    assert_eq!(deliver(first, 0), (1, 0, 0));
    assert_eq!(deliver(first, 2), (1, 0, 0));
    // The first copy has expired, the second has not.
    assert_eq!(deliver(first, 4), (1, 0, 1));
    assert_eq!(deliver(second, 4), (0, 1, 0));
    assert_eq!(deliver(second, 4), (0, 1, 0));
    assert_eq!(deliver(second, 4), (1, 0, 0));
}

#[test]
fn a_stalled_connection_holds_a_bounded_number_of_copies() {
    let mut arbiter = LineArbiter::default();
    let first = arbiter.add_line(Instant::now());
    let _stopped = arbiter.add_line(Instant::now());
    let mut batch = Batch::new();
    for number in 0..MAX_EXPECTED as u64 * 2 {
        batch.push(&number.to_le_bytes());
        if batch.len() == 1_000 {
            arbiter.remove_duplicates(first, &mut batch, Instant::now());
            batch.clear();
        }
    }
    let held = arbiter.lines.iter().map(|line| line.current.len() + line.previous.len());
    let held: usize = held.sum();
    assert!(held <= MAX_EXPECTED + 2_000, "{held}");
}

#[test]
fn unconfirmed_copies_swallow_no_repeat_once_their_connection_is_gone() {
    let begun = Instant::now();
    // Never delivering, delivering when the other ends, and delivering long before with the other
    // still there.
    for (delivering_after, gone) in [(None, true), (Some(0), true), (Some(0), false)] {
        let mut arbiter = LineArbiter::default();
        let old = arbiter.add_line(begun);
        arbiter.mark_connected(old);
        arbiter.mark_delivering(old, begun);
        let new = arbiter.add_line(begun);
        assert!(deliver_heartbeat(&mut arbiter, old, begun));
        arbiter.mark_connected(new);
        arbiter.mark_subscribed(new, begun);
        if let Some(after) = delivering_after {
            arbiter.mark_delivering(new, begun + Duration::from_secs(after));
        }
        let mut now = begun;
        if gone {
            arbiter.remove_line(old);
        } else {
            now += OVERLAP_DURATION;
        }
        assert!(deliver_heartbeat(&mut arbiter, new, now), "{delivering_after:?} {gone}");
    }
}

#[test]
fn a_copy_just_after_delivery_is_confirmed_is_removed() {
    let begun = Instant::now();
    let mut arbiter = LineArbiter::default();
    let old = arbiter.add_line(begun);
    let new = arbiter.add_line(begun);
    assert!(deliver_heartbeat(&mut arbiter, old, begun));
    arbiter.mark_delivering(new, begun);
    assert!(!deliver_heartbeat(&mut arbiter, new, begun + OVERLAP_DURATION / 2));
    assert!(deliver_heartbeat(&mut arbiter, new, begun + OVERLAP_DURATION / 2));
}

/// Delivers a message that the server repeats. Returns whether it is forwarded.
fn deliver_heartbeat(arbiter: &mut LineArbiter, line: LineIndex, now: Instant) -> bool {
    let mut batch = Batch::new();
    batch.push(b"a heartbeat");
    arbiter.remove_duplicates(line, &mut batch, now);
    !batch.is_empty()
}

#[test]
fn a_wrong_expected_copy_does_not_remove_later_messages() {
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    for stays in [false, true] {
        let mut arbiter = LineArbiter::default();
        let old = arbiter.add_line(begun);
        arbiter.mark_connected(old);
        arbiter.mark_delivering(old, begun);
        let new = arbiter.add_line(begun);
        arbiter.mark_connected(new);
        arbiter.mark_subscribed(new, begun);
        // The new line gets no copy of this message, but of all that follow.
        assert!(deliver_heartbeat(&mut arbiter, old, begun));
        arbiter.mark_delivering(new, begun);
        let mut now = begun;
        for _ in 0..if stays { 5 } else { 1 } {
            now += second;
            assert!(deliver_heartbeat(&mut arbiter, old, now));
            assert!(!deliver_heartbeat(&mut arbiter, new, now));
        }
        arbiter.remove_line(old);
        assert!(deliver_heartbeat(&mut arbiter, new, now + second), "{stays}");
    }
}

#[test]
fn a_failed_connect_expires_no_expected_copies() {
    let begun = Instant::now();
    let mut arbiter = LineArbiter::default();
    let old = arbiter.add_line(begun);
    let new = arbiter.add_line(begun);
    arbiter.mark_connected(old);
    arbiter.mark_subscribed(old, begun);
    arbiter.mark_connected(new);
    arbiter.mark_subscribed(new, begun);
    assert!(deliver_heartbeat(&mut arbiter, old, begun));
    let failed = arbiter.add_line(begun);
    arbiter.remove_line(failed);
    assert!(!deliver_heartbeat(&mut arbiter, new, begun), "a copy is still expected");
}

#[test]
fn a_batch_of_an_unknown_line_is_forwarded() {
    let now = Instant::now();
    let mut arbiter = LineArbiter::default();
    let first = arbiter.add_line(now);
    let removed = arbiter.add_line(now);
    arbiter.remove_line(removed);
    assert!(deliver_heartbeat(&mut arbiter, first, now));
    assert!(deliver_heartbeat(&mut arbiter, removed, now), "rather twice than not at all");
    arbiter.mark_delivering(removed, now);
    assert_eq!(arbiter.add_line(now), removed, "an index is used again");
}

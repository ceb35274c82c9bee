use proptest::prelude::*;

use super::*;

/// What a link does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It brings the next message that it has not lost.
    Bring(usize),
    /// The server sends a message, of which there are a few kinds; each link may lose its copy.
    Send { kind: u8, lost: [bool; 2] },
    /// The connection is cut with all that is on its way, and made anew.
    Again(usize),
    /// It is known to bring all.
    Settle(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize).prop_map(Step::Bring),
        3 => (0..4_u8, any::<[bool; 2]>()).prop_map(|(kind, lost)| Step::Send { kind, lost }),
        1 => (0..2_usize).prop_map(Step::Again),
        1 => (0..2_usize).prop_map(Step::Settle),
    ]
}

/// A server with two links to a recorder.
struct Play {
    twins: Twins,
    numbers: [usize; 2],
    on_the_way: [Vec<String>; 2],
    written: Vec<String>,
    now: Instant,
}

impl Play {
    fn new() -> Self {
        let (mut twins, now) = (Twins::default(), Instant::now());
        let numbers = [twins.join(now), twins.join(now)];
        Self { twins, numbers, on_the_way: Default::default(), written: Vec::new(), now }
    }

    fn bring(&mut self, link: usize, count: usize) {
        let count = count.min(self.on_the_way[link].len());
        let mut batch = Batch::new();
        for message in self.on_the_way[link].drain(..count) {
            batch.push(message.as_bytes());
        }
        self.twins.filter(self.numbers[link], &mut batch, self.now);
        let texts = batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
        self.written.extend(texts);
    }

    fn again(&mut self, link: usize) {
        self.on_the_way[link].clear();
        self.twins.leave(self.numbers[link]);
        self.numbers[link] = self.twins.join(self.now);
    }

    fn settle(&mut self, link: usize) {
        self.twins.settled(self.numbers[link], self.now);
    }

    fn bring_all(&mut self) {
        self.bring(0, usize::MAX);
        self.bring(1, usize::MAX);
    }

    fn owes_nothing(&self) -> bool {
        self.twins.links.iter().flatten().all(|owed| owed.young.is_empty() && owed.old.is_empty())
    }
}

fn count(messages: &[String], message: &str) -> usize {
    messages.iter().filter(|other| *other == message).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_any_link_brings_is_written(
        steps in prop::collection::vec(step(), 0..60),
        known in any::<bool>(),
    ) {
        let mut play = Play::new();
        let settle = |play: &mut Play, link| if known { play.settle(link) };
        settle(&mut play, 0);
        settle(&mut play, 1);
        let mut brought = Vec::new();
        for (sent, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send { lost, .. } => for (link, lost) in lost.into_iter().enumerate() {
                    if !lost {
                        // No two are alike.
                        play.on_the_way[link].push(sent.to_string());
                    }
                },
                Step::Bring(link) => {
                    brought.extend(play.on_the_way[link].first().cloned());
                    play.bring(link, 1);
                }
                Step::Again(link) => {
                    play.again(link);
                    settle(&mut play, link);
                }
                Step::Settle(link) => play.settle(link),
            }
        }
        brought.sort();
        brought.dedup();
        play.written.sort();
        if !known {
            // What a link owed that was not yet known to bring all may come twice, when the other is cut.
            play.written.dedup();
        }
        prop_assert_eq!(play.written, brought);
    }

    #[test]
    fn when_one_link_loses_nothing_each_copy_is_written_once(
        steps in prop::collection::vec(step(), 0..60),
        whole in 0..2_usize,
    ) {
        let mut play = Play::new();
        play.settle(whole);
        let mut sent = Vec::new();
        for step in steps {
            match step {
                Step::Send { kind, mut lost } => {
                    lost[whole] = false;
                    sent.push(kind.to_string());
                    for (link, lost) in lost.into_iter().enumerate() {
                        if !lost {
                            play.on_the_way[link].push(kind.to_string());
                        }
                    }
                }
                Step::Bring(link) => play.bring(link, 1),
                Step::Again(link) if link != whole => play.again(link),
                Step::Again(_) => {}
                Step::Settle(link) => play.settle(link),
            }
        }
        play.bring_all();
        for kind in 0..4 {
            let kind = kind.to_string();
            prop_assert_eq!(count(&play.written, &kind), count(&sent, &kind));
        }
    }

    #[test]
    fn of_links_that_lose_the_better_one_counts(
        sent in prop::collection::vec((0..3_u8, any::<[bool; 2]>()), 0..40),
        order in prop::collection::vec(0..2_usize, 0..100),
    ) {
        let mut play = Play::new();
        for (kind, lost) in sent {
            for (link, lost) in lost.into_iter().enumerate() {
                if !lost {
                    play.on_the_way[link].push(kind.to_string());
                }
            }
        }
        let brought = play.on_the_way.clone();
        for link in order {
            play.bring(link, 1);
        }
        play.bring_all();
        for kind in 0..3 {
            let kind = kind.to_string();
            let most = brought.iter().map(|link| count(link, &kind)).max().unwrap();
            prop_assert_eq!(count(&play.written, &kind), most);
        }
    }
}

#[test]
fn links_that_keep_up_with_each_other_take_no_memory() {
    let mut play = Play::new();
    for number in 0..1_000 {
        for link in 0..2 {
            play.on_the_way[link].push(number.to_string());
            play.bring(link, 1);
        }
    }
    assert_eq!(play.written.len(), 1_000);
    assert!(play.owes_nothing());
}

#[test]
fn a_link_alone_is_not_looked_at() {
    let mut twins = Twins::default();
    let link = twins.join(Instant::now());
    let mut batch = Batch::new();
    batch.push(b"a");
    batch.push(b"a");
    assert_eq!(twins.filter(link, &mut batch, Instant::now()), Paired::default());
    assert_eq!(batch.len(), 2);
}

#[test]
fn what_is_owed_for_too_long_is_forgotten_and_counted() {
    let begun = Instant::now();
    let mut twins = Twins::default();
    let (first, second) = (twins.join(begun), twins.join(begun));
    twins.settled(second, begun);
    let mut bring = |link, after: u32| {
        let mut batch = Batch::new();
        batch.push(b"a");
        let paired = twins.filter(link, &mut batch, begun + WINDOW / 4 * after);
        (batch.len(), paired.duplicates, paired.unpaired)
    };
    assert_eq!(bring(first, 0), (1, 0, 0));
    assert_eq!(bring(first, 2), (1, 0, 0));
    // The first copy is forgotten, the second is not.
    assert_eq!(bring(first, 4), (1, 0, 1));
    assert_eq!(bring(second, 4), (0, 1, 0));
    assert_eq!(bring(second, 4), (0, 1, 0));
    assert_eq!(bring(second, 4), (1, 0, 0));
}

#[test]
fn a_link_that_stopped_costs_no_more_than_stated() {
    let mut twins = Twins::default();
    let (first, _stopped) = (twins.join(Instant::now()), twins.join(Instant::now()));
    let mut batch = Batch::new();
    for number in 0..MOST_OWED as u64 * 2 {
        batch.push(&number.to_le_bytes());
        if batch.len() == 1_000 {
            twins.filter(first, &mut batch, Instant::now());
            batch.clear();
        }
    }
    let held = twins.links.iter().flatten().map(|owed| owed.young.len() + owed.old.len());
    let held: usize = held.sum();
    assert!(held <= MOST_OWED + 2_000, "{held}");
}

#[test]
fn what_came_before_a_link_was_settled_swallows_nothing_when_whoever_brought_it_is_gone() {
    let begun = Instant::now();
    // Never settled, settled when the other goes, settled long before, with the other still there.
    for (settled_after, gone) in [(None, true), (Some(0), true), (Some(0), false)] {
        let mut twins = Twins::default();
        let old = twins.join(begun);
        twins.up(old);
        twins.settled(old, begun);
        let new = twins.join(begun);
        assert!(beat(&mut twins, old, begun));
        twins.up(new);
        twins.subscribed(new, begun);
        if let Some(after) = settled_after {
            twins.settled(new, begun + Duration::from_secs(after));
        }
        let mut now = begun;
        if gone {
            twins.leave(old);
        } else {
            now += LINGER;
        }
        assert!(beat(&mut twins, new, now), "{settled_after:?} {gone}");
    }
}

#[test]
fn a_copy_that_comes_just_after_a_link_was_settled_is_none() {
    let begun = Instant::now();
    let mut twins = Twins::default();
    let (old, new) = (twins.join(begun), twins.join(begun));
    assert!(beat(&mut twins, old, begun));
    twins.settled(new, begun);
    assert!(!beat(&mut twins, new, begun + LINGER / 2));
    assert!(beat(&mut twins, new, begun + LINGER / 2));
}

/// A message that the server repeats, as it comes: whether it is written.
fn beat(twins: &mut Twins, link: usize, now: Instant) -> bool {
    let mut batch = Batch::new();
    batch.push(b"a heartbeat");
    twins.filter(link, &mut batch, now);
    !batch.is_empty()
}

#[test]
fn a_debt_that_was_none_is_not_passed_on_to_later_messages() {
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    for stays in [false, true] {
        let mut twins = Twins::default();
        let old = twins.join(begun);
        twins.up(old);
        twins.settled(old, begun);
        let new = twins.join(begun);
        twins.up(new);
        twins.subscribed(new, begun);
        // Of this the new one gets no copy, but of all that follow.
        assert!(beat(&mut twins, old, begun));
        twins.settled(new, begun);
        let mut now = begun;
        for _ in 0..if stays { 5 } else { 1 } {
            now += second;
            assert!(beat(&mut twins, old, now));
            assert!(!beat(&mut twins, new, now));
        }
        twins.leave(old);
        assert!(beat(&mut twins, new, now + second), "{stays}");
    }
}

#[test]
fn a_connection_that_could_not_be_made_voids_nothing() {
    let begun = Instant::now();
    let mut twins = Twins::default();
    let (old, new) = (twins.join(begun), twins.join(begun));
    twins.up(old);
    twins.subscribed(old, begun);
    twins.up(new);
    twins.subscribed(new, begun);
    assert!(beat(&mut twins, old, begun));
    let failed = twins.join(begun);
    twins.leave(failed);
    assert!(!beat(&mut twins, new, begun), "its copy");
}

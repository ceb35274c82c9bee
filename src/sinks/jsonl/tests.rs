//! The sink with the time in the test's hand.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::archive::disk::faults::{Fault, with};
use crate::archive::journal::{self, Entry, Event, Mark};
use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::plugin::{Cause, FeedEvent, Scope};
use crate::stats::Stats;

/// A sink whose time is in the test's hand.
struct ByHand {
    dir: tempfile::TempDir,
    sink: Jsonl,
    stats: Arc<Stats>,
}

impl ByHand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stats = Arc::new(Stats::new());
        let context = BuildContext::new(vec!["t".to_owned()], Arc::clone(&stats), 10);
        let settings = Settings {
            dir: dir.path().to_owned(),
            mode: FILE_MODE,
            sync_interval: Some(Duration::ZERO),
            mark_interval: Duration::ZERO,
            max_open_files: 512,
        };
        let stems = vec![Stem::from_topic("t").unwrap()];
        let mut sink = Jsonl::new(settings, stems, None, &context);
        sink.open().unwrap();
        Self { dir, sink, stats }
    }

    fn event(&mut self, seconds: u64, event: &FeedEvent) {
        self.sink.event(UnixNanos::from_seconds(seconds), event).unwrap();
    }

    fn journal(&self, hour: u64) -> Vec<Entry> {
        journal::read(&self.dir.path().join(format!("t_{hour}.journal"))).unwrap()
    }

    /// The names of the events in a journal.
    fn events(&self, hour: u64) -> Vec<String> {
        let name = |entry: Entry| {
            let value = serde_json::to_value(entry).unwrap();
            value["event"].as_str().unwrap().to_owned()
        };
        self.journal(hour).into_iter().map(name).collect()
    }

    fn write(&mut self, seconds: u64, text: &str) {
        let mut batch = Batch::new();
        batch.push(text.as_bytes());
        batch.set_received(UnixNanos::from_seconds(seconds));
        self.sink.write(&batch).unwrap();
    }

    fn tick(&mut self, seconds: u64) {
        self.sink.tick(UnixNanos::from_seconds(seconds)).unwrap();
    }

    fn read(&self, hour: u64) -> String {
        let file = self.dir.path().join(format!("t_{hour}.jsonl"));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// How many files of this process are open in the directory, the lock aside.
    fn open_files(&self) -> usize {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
            .filter(|file| {
                file.starts_with(self.dir.path()) && file.extension().is_some_and(|e| e == "jsonl")
            })
            .count()
    }
}

#[test]
fn a_message_belongs_to_the_hour_in_which_it_was_received() {
    let mut by_hand = ByHand::new();
    by_hand.write(7199, "last");
    by_hand.tick(7200);
    by_hand.write(7200, "first");
    // Waited in the queue over the boundary.
    by_hand.write(7199, "late");
    by_hand.sink.close().unwrap();
    assert_eq!(by_hand.read(3600), "last\nlate\n");
    assert_eq!(by_hand.read(7200), "first\n");
}

#[test]
fn the_hour_closes_on_a_tick_when_nothing_arrives() {
    let mut by_hand = ByHand::new();
    by_hand.write(7100, "a");
    by_hand.tick(7199);
    assert_eq!(by_hand.open_files(), 1);
    by_hand.tick(7200);
    assert_eq!(by_hand.open_files(), 0);
    assert_eq!(by_hand.events(3600), ["open", "mark", "closed"]);
    assert_eq!(by_hand.read(7200), "");
    assert_eq!(by_hand.events(7200), ["open"], "listening, and nothing came");
}

#[test]
fn the_journal_tells_what_happened_in_its_place() {
    let mut by_hand = ByHand::new();
    by_hand.tick(3600);
    by_hand.event(3601, &FeedEvent::Up { connection: 1, scope: Scope::default() });
    by_hand.write(3602, "a");
    by_hand.tick(3603);
    let down = FeedEvent::Down {
        cause: Cause::Eof,
        detail: "gone".to_owned(),
        silent_since: None,
        scope: Scope::default(),
    };
    by_hand.event(3604, &down);
    by_hand.tick(7200);
    by_hand.sink.close().unwrap();
    assert_eq!(by_hand.events(3600), ["open", "up", "mark", "down", "closed"]);
    assert_eq!(by_hand.events(7200), ["open", "closed"]);
    let journal = by_hand.journal(3600);
    assert!(matches!(&journal[0].event, Event::Open(open) if open.v == 1 && !open.connected));
    let mark = Mark { bytes: 2, messages: 1, synced: None };
    assert_eq!(journal[2], Entry { t: 3_602_000_000_000, event: Event::Mark(mark) });
    let Event::Closed(closed) = &journal[4].event else { panic!("{journal:?}") };
    assert_eq!((closed.bytes, closed.messages, closed.stop, closed.durable), (2, 1, false, true));
    let Event::Closed(closed) = &by_hand.journal(7200)[1].event else { panic!("no end") };
    assert!(closed.stop && closed.first.is_none());
}

#[test]
fn a_disk_that_is_full_is_noted_once_and_its_end_too() {
    let mut by_hand = ByHand::new();
    by_hand.write(3600, "a");
    let full = Fault::Error(std::io::ErrorKind::StorageFull);
    let mut batch = Batch::new();
    batch.push(b"b");
    batch.set_received(UnixNanos::from_seconds(3601));
    with(full, 0, || by_hand.sink.write(&batch).unwrap_err());
    with(full, 0, || by_hand.sink.write(&batch).unwrap_err());
    by_hand.sink.write(&batch).unwrap();
    assert_eq!(by_hand.events(3600), ["open", "stall", "resume"]);
    assert_eq!(by_hand.read(3600), "a\nb\n");
}

#[test]
fn a_sync_that_fails_is_in_the_journal_and_the_recording_goes_on() {
    let mut by_hand = ByHand::new();
    by_hand.write(3600, "a");
    let broken = Fault::Error(std::io::ErrorKind::Other);
    with(broken, 0, || by_hand.sink.tick(UnixNanos::from_seconds(3601)).unwrap_err());
    by_hand.write(3602, "b");
    by_hand.sink.close().unwrap();
    assert_eq!(by_hand.events(3600), ["open", "sync_failed", "mark", "closed"]);
    let journal = by_hand.journal(3600);
    let Event::SyncFailed { from, to, .. } = &journal[1].event else { panic!("{journal:?}") };
    assert_eq!((*from, *to), (0, 2));
    assert!(matches!(&journal[3].event, Event::Closed(closed) if !closed.durable));
    assert_eq!(by_hand.read(3600), "a\nb\n");
}

#[test]
fn a_journal_that_cannot_be_written_does_not_stop_the_lines() {
    let mut by_hand = ByHand::new();
    let path = by_hand.dir.path().join("t_3600.journal");
    std::fs::create_dir(&path).unwrap();
    by_hand.write(3600, "a");
    by_hand.tick(3601);
    assert_eq!(by_hand.read(3600), "a\n");
    assert!(by_hand.stats.journal_errors.get() > 0);
    assert!(by_hand.stats.snapshot().last_journal_error.unwrap().contains("t_3600.journal"));
    std::fs::remove_dir(&path).unwrap();
    by_hand.tick(3602);
    assert_eq!(by_hand.events(3600), ["open", "mark"], "nothing was forgotten");
}

#[test]
fn a_directory_that_was_removed_is_made_anew() {
    let mut by_hand = ByHand::new();
    by_hand.write(3600, "gone");
    std::fs::remove_dir_all(by_hand.dir.path()).unwrap();
    by_hand.tick(3601);
    by_hand.write(3602, "kept");
    by_hand.tick(3603);
    assert_eq!(by_hand.read(3600), "kept\n");
    assert!(by_hand.dir.path().join(".streamer.lock").exists());
}

#[test]
fn a_directory_that_was_removed_between_hours_holds_nothing_up() {
    let mut by_hand = ByHand::new();
    std::fs::remove_dir_all(by_hand.dir.path()).unwrap();
    by_hand.write(3600, "kept");
    assert_eq!(by_hand.read(3600), "kept\n");
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let mut by_hand = ByHand::new();
    by_hand.write(3600, "before");
    let moved = by_hand.dir.path().join("moved");
    std::fs::rename(by_hand.dir.path().join("t_3600.jsonl"), &moved).unwrap();
    by_hand.tick(3601);
    by_hand.write(3602, "after");
    assert_eq!(std::fs::read(moved).unwrap(), b"before\n");
    assert_eq!(by_hand.read(3600), "after\n");
}

#[test]
fn a_clock_that_steps_overwrites_nothing() {
    let mut by_hand = ByHand::new();
    by_hand.write(100_000, "a");
    by_hand.write(10, "b");
    by_hand.tick(11);
    by_hand.write(100_001, "c");
    by_hand.write(12, "d");
    by_hand.sink.close().unwrap();
    assert_eq!(by_hand.read(97_200), "a\nc\n");
    assert_eq!(by_hand.read(0), "b\nd\n");
}

#[test]
fn an_event_that_comes_while_the_hour_cannot_be_opened_is_not_forgotten() {
    for nth in 0..12 {
        let mut by_hand = ByHand::new();
        by_hand.write(3610, "{}");
        by_hand.tick(3611);
        // The next hour exists with a torn end, and cannot be opened at first.
        std::fs::write(by_hand.dir.path().join("t_7200.jsonl"), "{}\n{\"tor").unwrap();
        let down = FeedEvent::Down {
            cause: Cause::Eof,
            detail: String::new(),
            silent_since: None,
            scope: Scope::default(),
        };
        let full = Fault::Error(std::io::ErrorKind::StorageFull);
        // The engine tells of it in the log.
        let _ =
            with(full, nth, || by_hand.sink.event(UnixNanos::from_seconds(7300), &down).is_err());
        by_hand.tick(7310);
        by_hand.event(9001, &FeedEvent::Up { connection: 2, scope: Scope::default() });
        let events = by_hand.events(7200);
        assert!(events.contains(&"down".to_owned()), "failure at {nth}: {events:?}");
    }
}

/// A sink that files by topic.
fn routed(dir: &std::path::Path, topics: &[&str]) -> Box<dyn Sink> {
    let topics = topics.iter().map(ToString::to_string).collect();
    let topic = crate::json::Selector::parse("/t").ok();
    let context = BuildContext::new(topics, Arc::new(Stats::new()), 10).with_topic(topic);
    let config = JsonlConfig { output_dir: dir.to_owned(), ..JsonlConfig::default() };
    let mut sink = config.build(&context).unwrap();
    sink.open().unwrap();
    sink
}

fn of_topics(seconds: u64, topics: &[&str]) -> Batch {
    let mut labeler = Labeler::new(crate::json::Selector::parse("/t").unwrap(), 100);
    let mut batch = Batch::new();
    for topic in topics {
        batch.push(format!("{{\"t\":\"{topic}\"}}").as_bytes());
    }
    let mut labels = Vec::new();
    labeler.label(&batch, &mut labels);
    batch.set_topics(labels, Arc::clone(labeler.names()));
    batch.set_received(UnixNanos::from_seconds(seconds));
    batch
}

fn names_of(dir: &std::path::Path, stem: &str, hour: u64) -> Vec<String> {
    let journal = journal::read(&dir.join(format!("{stem}_{hour}.journal"))).unwrap();
    let name =
        |entry: Entry| serde_json::to_value(entry).unwrap()["event"].as_str().unwrap().to_owned();
    journal.into_iter().map(name).collect()
}

#[test]
fn lines_that_are_kept_back_belong_to_the_hour_in_which_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = routed(dir.path(), &["a", "b"]);
    sink.tick(UnixNanos::from_seconds(7_198)).unwrap();
    sink.write(&of_topics(7_199, &["a", "b", "a"])).unwrap();
    assert_eq!(sink.buffered(), 3);
    sink.tick(UnixNanos::from_seconds(7_200)).unwrap();
    assert_eq!(sink.buffered(), 0);
    sink.close().unwrap();
    assert_eq!(
        std::fs::read_to_string(dir.path().join("a_3600.jsonl")).unwrap().lines().count(),
        2
    );
    let events = names_of(dir.path(), "a", 3_600);
    assert_eq!(events.iter().filter(|name| *name == "open").count(), 1, "{events:?}");
    assert_eq!(names_of(dir.path(), "a", 7_200), ["open", "closed"]);
}

#[test]
fn a_topic_that_cannot_go_on_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = routed(dir.path(), &["a", "b"]);
    std::fs::create_dir(dir.path().join("b_7200.jsonl")).unwrap();
    sink.tick(UnixNanos::from_seconds(7_199)).unwrap();
    assert!(sink.tick(UnixNanos::from_seconds(7_200)).is_err());
    sink.write(&of_topics(7_201, &["a"])).unwrap();
    sink.flush().unwrap();
    assert!(sink.tick(UnixNanos::from_seconds(7_202)).is_err(), "b still cannot");
    drop(sink.close());
    assert_eq!(
        std::fs::read_to_string(dir.path().join("a_7200.jsonl")).unwrap().lines().count(),
        1
    );
    assert!(names_of(dir.path(), "a", 7_200).contains(&"closed".to_owned()));
}

#[test]
fn a_write_that_fails_for_one_topic_loses_and_doubles_no_line_of_any() {
    let mut came = 0;
    for nth in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = routed(dir.path(), &["a", "b", "c"]);
        let mut batch = of_topics(3_600, &["c", "a", "b", "a", "c", "a"]);
        sink.write(&batch).unwrap();
        let full = Fault::Error(std::io::ErrorKind::StorageFull);
        let (failed, was) = with(full, nth, || sink.flush().is_err());
        came += usize::from(was);
        assert_eq!(failed, sink.buffered() > 0, "failure at {nth}");
        batch.push(b"control");
        sink.write(&batch).unwrap();
        sink.flush().unwrap();
        assert_eq!(sink.buffered(), 0);
        sink.close().unwrap();
        for (topic, lines) in [("a", 6), ("b", 2), ("c", 4)] {
            let file = dir.path().join(format!("{topic}_3600.jsonl"));
            let line = format!("{{\"t\":\"{topic}\"}}\n");
            assert_eq!(std::fs::read_to_string(file).unwrap(), line.repeat(lines), "{nth}");
        }
    }
    assert!(came >= 3, "too few failures: {came}");
}

#[test]
fn more_topics_than_files_may_be_open_are_all_written() {
    let dir = tempfile::tempdir().unwrap();
    let topics: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let context = BuildContext::new(Vec::new(), Arc::new(Stats::new()), 10);
    let config = JsonlConfig {
        output_dir: dir.path().to_owned(),
        partition: serde_json::from_value(json!("/t")).unwrap(),
        max_open_files: 16,
        ..JsonlConfig::default()
    };
    let mut sink = config.build(&context).unwrap();
    sink.open().unwrap();
    for round in 0..5 {
        sink.write(&of_topics(3_600 + round, &topics)).unwrap();
        sink.flush().unwrap();
        sink.tick(UnixNanos::from_seconds(3_600 + round)).unwrap();
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        let open = open.filter(|file| file.starts_with(dir.path())).count();
        assert!(open <= 16 + 2, "{open} files are open");
    }
    sink.close().unwrap();
    for topic in topics {
        let file = dir.path().join(format!("{topic}_3600.jsonl"));
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 5);
    }
}

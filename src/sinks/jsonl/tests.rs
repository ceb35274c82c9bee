//! Tests of the jsonl sink with times that the test sets.

mod file_trouble;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::archive::disk::injected_fault::{InjectedFault, with_fault};
use crate::archive::journal::{self, JournalEntry, JournalEvent, Mark};
use crate::base::time::UnixNanos;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{ConnectionId, DownCause, RejectedMessage, SourceEvent, SourceScope};

/// A sink with one file, whose times the test sets.
struct SinkHarness {
    dir: tempfile::TempDir,
    sink: JsonlSink,
    stats: Arc<PipelineStats>,
}

impl SinkHarness {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stats = Arc::new(PipelineStats::new());
        let context = BuildContext::new(vec!["t".to_owned()], Arc::clone(&stats), 10);
        let settings = JsonlSettings {
            dir: dir.path().to_owned(),
            file_mode: FileMode::new(DEFAULT_FILE_MODE),
            sync_interval: Some(Duration::ZERO),
            mark_interval: Duration::ZERO,
            max_open_files: 512,
            time_index: crate::archive::hour_writer::TimeIndexing::On,
        };
        let stem = Stem::from_topic("t").unwrap();
        let mut sink = JsonlSink::single_file(settings, stem, &context);
        sink.open().unwrap();
        Self { dir, sink, stats }
    }

    fn event(&mut self, seconds: u64, event: &SourceEvent) {
        self.sink.on_event(UnixNanos::from_seconds(seconds), event).unwrap();
    }

    fn read_journal(&self, hour: u64) -> Vec<JournalEntry> {
        journal::read(&self.dir.path().join(format!("t_{hour}.journal"))).unwrap()
    }

    /// Returns the names of the events in a journal.
    fn event_names(&self, hour: u64) -> Vec<String> {
        let name = |entry: JournalEntry| {
            let value = serde_json::to_value(entry).unwrap();
            value["event"].as_str().unwrap().to_owned()
        };
        self.read_journal(hour).into_iter().map(name).collect()
    }

    fn write(&mut self, seconds: u64, text: &str) {
        let mut batch = Batch::new();
        batch.push(text.as_bytes());
        batch.set_received(UnixNanos::from_seconds(seconds));
        self.sink.write(&batch).unwrap();
        self.sink.flush().unwrap();
    }

    fn tick(&mut self, seconds: u64) {
        self.sink.tick(UnixNanos::from_seconds(seconds).into()).unwrap();
    }

    fn read_lines(&self, hour: u64) -> String {
        let file = self.dir.path().join(format!("t_{hour}.jsonl"));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Returns the number of `.jsonl` files in the directory that this process has open.
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
    let mut harness = SinkHarness::new();
    harness.write(7199, "last");
    harness.tick(7200);
    harness.write(7200, "first");
    // A message that waited in the queue over the end of its hour.
    harness.write(7199, "late");
    harness.sink.close().unwrap();
    assert_eq!(harness.read_lines(3600), "last\nlate\n");
    assert_eq!(harness.read_lines(7200), "first\n");
}

#[test]
fn a_tick_closes_the_hour_when_nothing_arrives() {
    let mut harness = SinkHarness::new();
    harness.write(7100, "a");
    harness.tick(7199);
    assert_eq!(harness.open_files(), 1);
    harness.tick(7200);
    assert_eq!(harness.open_files(), 0);
    assert_eq!(harness.event_names(3600), ["open", "mark", "closed"]);
    assert_eq!(harness.read_lines(7200), "");
    assert_eq!(harness.event_names(7200), ["open"], "connected, and no message received");
}

#[test]
fn journal_events_are_in_order_with_the_lines() {
    let mut harness = SinkHarness::new();
    harness.tick(3600);
    harness.event(
        3601,
        &SourceEvent::Up { connection: ConnectionId::new(1), scope: SourceScope::default() },
    );
    harness.write(3602, "a");
    harness.tick(3603);
    let down = SourceEvent::Down {
        cause: DownCause::Eof,
        detail: "gone".to_owned(),
        silent_since: None,
        scope: SourceScope::default(),
    };
    harness.event(3604, &down);
    harness.tick(7200);
    harness.sink.close().unwrap();
    assert_eq!(harness.event_names(3600), ["open", "up", "mark", "down", "closed"]);
    assert_eq!(harness.event_names(7200), ["open", "closed"]);
    let journal = harness.read_journal(3600);
    assert!(
        matches!(&journal[0].event, JournalEvent::Open(open) if open.v == 1 && !open.connected)
    );
    let mark = Mark { bytes: 2, messages: 1, synced: None };
    assert_eq!(
        journal[2],
        JournalEntry { t: UnixNanos::new(3_602_000_000_000), event: JournalEvent::Mark(mark) }
    );
    let JournalEvent::Closed(closed) = &journal[4].event else { panic!("{journal:?}") };
    assert_eq!((closed.bytes, closed.messages, closed.stop, closed.durable), (2, 1, false, true));
    let JournalEvent::Closed(closed) = &harness.read_journal(7200)[1].event else {
        panic!("the journal has no end")
    };
    assert!(closed.stop && closed.first.is_none());
}

#[test]
fn a_full_disk_is_journaled_once_as_stall_and_once_as_resume() {
    let mut harness = SinkHarness::new();
    harness.write(3600, "a");
    let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
    let mut batch = Batch::new();
    batch.push(b"b");
    batch.set_received(UnixNanos::from_seconds(3601));
    harness.sink.write(&batch).unwrap();
    with_fault(full, 0, || harness.sink.flush().unwrap_err());
    with_fault(full, 0, || harness.sink.flush().unwrap_err());
    harness.sink.flush().unwrap();
    assert_eq!(harness.event_names(3600), ["open", "stall", "resume"]);
    assert_eq!(harness.read_lines(3600), "a\nb\n");
}

/// Returns a batch of one line of `length` bytes.
fn batch_of_length(seconds: u64, length: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push(&vec![b'x'; length - 1]);
    batch.set_received(UnixNanos::from_seconds(seconds));
    batch
}

#[test]
fn batches_that_wait_are_written_with_one_append() {
    let mut harness = SinkHarness::new();
    harness.write(3600, "first");
    let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
    let ((), has_second_operation) = with_fault(full, 1, || {
        for _ in 0..300 {
            harness.sink.write(&batch_of_length(3601, 1_300)).unwrap();
        }
        assert_eq!(harness.sink.buffered(), 300);
        harness.sink.flush().unwrap();
    });
    assert!(!has_second_operation);
    assert_eq!(harness.sink.buffered(), 0);
    assert_eq!(harness.read_lines(3600).len(), 6 + 300 * 1_300);
}

#[test]
fn large_batches_are_joined_where_a_write_is_slow() {
    let mut harness = SinkHarness::new();
    harness.write(3600, "first");
    let slow = InjectedFault::Interleave(&|| std::thread::sleep(Duration::from_millis(50)));
    with_fault(slow, 0, || {
        harness.sink.write(&batch_of_length(3601, 100_000)).unwrap();
        harness.sink.flush().unwrap();
    });
    assert_eq!(harness.sink.buffered(), 0);
    harness.sink.write(&batch_of_length(3601, 100_000)).unwrap();
    assert_eq!(harness.sink.buffered(), 1);
    harness.sink.close().unwrap();
    assert_eq!(harness.read_lines(3600).len(), 6 + 200_000);
}

#[test]
fn joined_lines_keep_their_order_and_their_hour() {
    let mut harness = SinkHarness::new();
    let lengths = [(3600, 10), (3600, 100_000), (7199, 20), (7200, 30), (7200, 9 << 20), (7201, 5)];
    for (seconds, length) in lengths {
        harness.sink.write(&batch_of_length(seconds, length)).unwrap();
    }
    harness.sink.close().unwrap();
    let line_lengths = |hour| -> Vec<usize> {
        harness.read_lines(hour).lines().map(|line| line.len() + 1).collect()
    };
    assert_eq!(line_lengths(3600), [10, 100_000, 20]);
    assert_eq!(line_lengths(7200), [30, 9 << 20, 5]);
}

#[test]
fn joined_lines_that_cannot_be_written_are_neither_lost_nor_doubled() {
    for length in [100, 100_000] {
        let mut harness = SinkHarness::new();
        harness.write(3600, "first");
        harness.sink.write(&batch_of_length(3601, 200)).unwrap();
        let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
        let batch = batch_of_length(3601, length);
        let (failed, _) = with_fault(full, 0, || {
            let written = harness.sink.write(&batch);
            if written.is_ok() { harness.sink.flush().is_err() } else { true }
        });
        assert!(failed);
        if harness.sink.buffered() < 2 {
            harness.sink.write(&batch).unwrap();
        }
        harness.sink.flush().unwrap();
        assert_eq!(harness.read_lines(3600).len(), 6 + 200 + length);
        assert_eq!(harness.event_names(3600), ["open", "stall", "resume"]);
    }
}

#[test]
fn a_sync_that_fails_is_in_the_journal_and_the_recording_goes_on() {
    let mut harness = SinkHarness::new();
    harness.write(3600, "a");
    let broken = InjectedFault::Error(std::io::ErrorKind::Other);
    with_fault(broken, 0, || harness.sink.tick(UnixNanos::from_seconds(3601).into()).unwrap_err());
    harness.write(3602, "b");
    harness.sink.close().unwrap();
    assert_eq!(harness.event_names(3600), ["open", "sync_failed", "mark", "closed"]);
    let journal = harness.read_journal(3600);
    let JournalEvent::SyncFailed { from, to, .. } = &journal[1].event else {
        panic!("{journal:?}")
    };
    assert_eq!((*from, *to), (0, 2));
    assert!(matches!(&journal[3].event, JournalEvent::Closed(closed) if !closed.durable));
    assert_eq!(harness.read_lines(3600), "a\nb\n");
}

#[test]
fn a_journal_that_cannot_be_written_does_not_stop_the_lines() {
    let mut harness = SinkHarness::new();
    let path = harness.dir.path().join("t_3600.journal");
    std::fs::create_dir(&path).unwrap();
    harness.write(3600, "a");
    harness.tick(3601);
    assert_eq!(harness.read_lines(3600), "a\n");
    assert!(harness.stats.journal_errors.get() > 0);
    assert!(harness.stats.snapshot().last_journal_error.unwrap().contains("t_3600.journal"));
    std::fs::remove_dir(&path).unwrap();
    harness.tick(3602);
    assert_eq!(harness.event_names(3600), ["open", "mark"], "no event is lost");
}

#[test]
fn a_removed_directory_is_created_again() {
    let mut harness = SinkHarness::new();
    harness.write(3600, "gone");
    std::fs::remove_dir_all(harness.dir.path()).unwrap();
    harness.tick(3601);
    harness.write(3602, "kept");
    harness.tick(3603);
    assert_eq!(harness.read_lines(3600), "kept\n");
    assert!(harness.dir.path().join(".streamer.lock").exists());
}

#[test]
fn a_directory_removed_between_hours_does_not_block_writes() {
    let mut harness = SinkHarness::new();
    std::fs::remove_dir_all(harness.dir.path()).unwrap();
    harness.write(3600, "kept");
    assert_eq!(harness.read_lines(3600), "kept\n");
}

#[test]
fn a_new_file_is_started_when_the_open_one_was_moved_away() {
    let mut harness = SinkHarness::new();
    harness.write(3600, "before");
    let moved = harness.dir.path().join("moved");
    std::fs::rename(harness.dir.path().join("t_3600.jsonl"), &moved).unwrap();
    harness.tick(3601);
    harness.write(3602, "after");
    assert_eq!(std::fs::read(moved).unwrap(), b"before\n");
    assert_eq!(harness.read_lines(3600), "after\n");
}

#[test]
fn a_file_that_another_program_cuts_or_appends_to_is_opened_again_and_its_journal_says_so() {
    let mut harness = SinkHarness::new();
    let up = SourceEvent::Up { connection: ConnectionId::new(1), scope: SourceScope::default() };
    harness.event(3600, &up);
    for second in 3601..3611 {
        harness.write(second, "{}");
        harness.tick(second);
    }
    let path = harness.dir.path().join("t_3600.jsonl");
    let other = std::fs::File::options().append(true).open(&path).unwrap();
    // Cut off within a line: what comes next must not join what is left of it.
    other.set_len(13).unwrap();
    harness.write(3611, "{\"next\":1}");
    assert_eq!(harness.read_lines(3600), "{}\n".repeat(4) + "{\"next\":1}\n");
    harness.tick(3612);
    std::io::Write::write_all(&mut &other, b"{\"other\":1}\n{\"torn").unwrap();
    harness.tick(3613);
    harness.write(3614, "{\"after\":1}");
    harness.sink.close().unwrap();
    let expected = "{}\n".repeat(4) + "{\"next\":1}\n{\"other\":1}\n{\"after\":1}\n";
    assert_eq!(harness.read_lines(3600), expected);
    let recovered: Vec<_> = harness
        .read_journal(3600)
        .into_iter()
        .filter_map(|entry| match entry.event {
            JournalEvent::Recovered(found) => Some((found.messages, found.lost, found.cut)),
            _ => None,
        })
        .collect();
    assert_eq!(recovered, [(4, 6, 1), (6, 0, 6)]);
    let gaps = gaps_of(harness.dir.path(), "t");
    assert!(gaps.iter().any(|gap| gap.starts_with("dropped lines_missing Some(6)")), "{gaps:?}");
}

#[test]
fn a_clock_that_steps_overwrites_nothing() {
    let mut harness = SinkHarness::new();
    harness.write(100_000, "a");
    harness.write(10, "b");
    harness.tick(11);
    harness.write(100_001, "c");
    harness.write(12, "d");
    harness.sink.close().unwrap();
    assert_eq!(harness.read_lines(97_200), "a\nc\n");
    assert_eq!(harness.read_lines(0), "b\nd\n");
}

#[test]
fn a_mark_after_a_step_back_has_the_time_of_the_new_clock() {
    let mut harness = SinkHarness::new();
    harness.write(7_000, "before");
    harness.tick(7_001);
    harness.write(4_000, "after");
    harness.tick(4_001);
    let journal = harness.read_journal(3600);
    let marks = journal.iter().filter(|entry| matches!(entry.event, JournalEvent::Mark(_)));
    let times: Vec<_> = marks.map(|entry| entry.t.seconds()).collect();
    assert_eq!(times, [7_000, 4_000]);
}

#[test]
fn events_are_kept_while_the_hour_cannot_be_opened() {
    for nth in 0..12 {
        let mut harness = SinkHarness::new();
        harness.write(3610, "{}");
        harness.tick(3611);
        // The next hour exists with a torn line, and cannot be opened at first.
        std::fs::write(harness.dir.path().join("t_7200.jsonl"), "{}\n{\"tor").unwrap();
        let down = SourceEvent::Down {
            cause: DownCause::Eof,
            detail: String::new(),
            silent_since: None,
            scope: SourceScope::default(),
        };
        let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
        // The engine would log the error.
        let _ = with_fault(full, nth, || {
            harness.sink.on_event(UnixNanos::from_seconds(7300), &down).is_err()
        });
        harness.tick(7310);
        harness.event(
            9001,
            &SourceEvent::Up { connection: ConnectionId::new(2), scope: SourceScope::default() },
        );
        let events = harness.event_names(7200);
        assert!(events.contains(&"down".to_owned()), "failure at {nth}: {events:?}");
    }
}

/// Returns an open sink with a file for each topic.
fn sink_by_topic(dir: &std::path::Path, topics: &[&str]) -> Box<dyn Sink> {
    let topics = topics.iter().map(ToString::to_string).collect();
    let topic = crate::base::json::Selector::parse("/t").ok();
    let context =
        BuildContext::new(topics, Arc::new(PipelineStats::new()), 10).with_topic_selector(topic);
    let config = JsonlConfig { output_dir: dir.to_owned(), ..JsonlConfig::default() };
    let mut sink = config.build(&context).unwrap();
    sink.open().unwrap();
    sink
}

fn batch_of_topics(seconds: u64, topics: &[&str]) -> Batch {
    let mut labeler = TopicLabeler::new(crate::base::json::Selector::parse("/t").unwrap(), 100);
    let mut batch = Batch::new();
    for topic in topics {
        batch.push(format!("{{\"t\":\"{topic}\"}}").as_bytes());
    }
    let mut labels = Vec::new();
    labeler.label(&batch, &mut labels);
    batch.set_topics(labels, labeler.table().clone());
    batch.set_received(UnixNanos::from_seconds(seconds));
    batch
}

fn event_names(dir: &std::path::Path, stem: &str, hour: u64) -> Vec<String> {
    let journal = journal::read(&dir.join(format!("{stem}_{hour}.journal"))).unwrap();
    let name = |entry: JournalEntry| {
        serde_json::to_value(entry).unwrap()["event"].as_str().unwrap().to_owned()
    };
    journal.into_iter().map(name).collect()
}

#[test]
fn a_sink_is_idle_until_the_end_of_the_hour_once_all_is_synced_and_marked() {
    let mut harness = SinkHarness::new();
    let end = Some(UnixNanos::from_seconds(7_200));
    assert_eq!(harness.sink.idle_until(), None, "the hour is not open");
    harness.sink.tick(UnixNanos::from_seconds(3_600).into()).unwrap();
    assert_eq!(harness.sink.idle_until(), end);
    harness.write(3_601, "a");
    assert_eq!(harness.sink.idle_until(), None, "a line is not synced");
    harness.sink.tick(UnixNanos::from_seconds(3_602).into()).unwrap();
    harness.sink.tick(UnixNanos::from_seconds(3_603).into()).unwrap();
    assert_eq!(harness.sink.idle_until(), end);
    harness.sink.write(&batch_of_length(3_604, 10)).unwrap();
    assert_eq!(harness.sink.idle_until(), None, "a line is not written");
    let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
    with_fault(full, 0, || harness.sink.flush().unwrap_err());
    harness.sink.flush().unwrap();
    harness.sink.tick(UnixNanos::from_seconds(3_605).into()).unwrap();
    assert_eq!(harness.sink.idle_until(), end);
    harness.sink.tick(UnixNanos::from_seconds(7_200).into()).unwrap();
    assert_eq!(harness.sink.idle_until(), Some(UnixNanos::from_seconds(10_800)));
}

#[test]
fn buffered_lines_go_to_the_hour_of_their_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_by_topic(dir.path(), &["a", "b"]);
    sink.tick(UnixNanos::from_seconds(7_198).into()).unwrap();
    sink.write(&batch_of_topics(7_199, &["a", "b", "a"])).unwrap();
    assert_eq!(sink.buffered(), 3);
    sink.tick(UnixNanos::from_seconds(7_200).into()).unwrap();
    assert_eq!(sink.buffered(), 0);
    sink.close().unwrap();
    assert_eq!(
        std::fs::read_to_string(dir.path().join("a_3600.jsonl")).unwrap().lines().count(),
        2
    );
    let events = event_names(dir.path(), "a", 3_600);
    assert_eq!(events.iter().filter(|name| *name == "open").count(), 1, "{events:?}");
    assert_eq!(event_names(dir.path(), "a", 7_200), ["open", "closed"]);
}

/// Returns the gaps of a stem, each as `dropped unwritable 3`.
fn gaps_of(dir: &std::path::Path, stem: &str) -> Vec<String> {
    use crate::archive::gaps::GapKind;
    let gaps = all_gaps_of(dir, stem).into_iter();
    gaps.filter(|gap| !matches!(gap.kind, GapKind::NotRecorded | GapKind::NotRunning))
        .map(|gap| format!("{} {} {:?} {}", gap.kind, gap.cause, gap.messages, gap.detail))
        .collect()
}

/// Returns the gaps of a stem.
fn all_gaps_of(dir: &std::path::Path, stem: &str) -> Vec<crate::archive::gaps::Gap> {
    let hours = crate::archive::directory::Directory::read(dir).unwrap().into_all_hours();
    let now = UnixNanos::from_seconds(20_000);
    let coverage = crate::archive::coverage::Coverage::read(dir, &hours, now, 1);
    let gaps = coverage.gaps.into_iter().filter(|(of, _)| of.as_str() == stem);
    gaps.flat_map(|(_, gaps)| gaps).collect()
}

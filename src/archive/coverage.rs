//! The coverage of a directory: the journal of every hour, and the gaps of every stem.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::completeness::{find_missing_lines, missing_by};
use super::dir_lock::{is_recorder_running, read_previous_run};
use super::directory::Directory;
use super::file_name::{FileKind, Stem};
use super::gaps::{Gap, HourGaps, HourRecord, RecorderState, detect_gaps, gaps_by_hour};
use super::hour_entry::HourEntry;
use super::journal::{self, JournalEntry, JournalEvent};
use super::parallel::parallel_map;
use crate::base::time::{Hour, UnixNanos};

/// Coverage of a directory.
#[derive(Debug)]
pub struct Coverage {
    /// Journal of each hour, in the order in which the hours were given.
    pub records: Vec<HourRecord>,
    /// Gaps of each stem, in the order of their starts.
    pub gaps: BTreeMap<Stem, Vec<Gap>>,
    gaps_by_hour: BTreeMap<Stem, BTreeMap<Hour, HourGaps>>,
    /// Time of the last thing that the journals tell, if no recorder holds the directory. Nothing is
    /// known of the hours after it, which are no gap.
    pub known_until: Option<UnixNanos>,
}

impl Coverage {
    /// Reads the journals of the hours, on up to `threads` threads, and detects the gaps. The hours
    /// must be in the order of time. A journal that cannot be read makes its hour unknown.
    pub fn read(dir: &Path, hours: &[HourEntry], now: UnixNanos, threads: usize) -> Self {
        let entries = hours.iter().collect();
        let records = parallel_map(entries, threads, |entry| read_hour_record(dir, entry));
        let mut records_by_stem: BTreeMap<&Stem, Vec<&HourRecord>> = BTreeMap::new();
        for (entry, record) in hours.iter().zip(&records) {
            records_by_stem.entry(&entry.stem).or_default().push(record);
        }
        // The holder of the lock is the run that opened an hour last, and it records all stems that
        // this run has opened.
        let recorder_runs = is_recorder_running(dir);
        let last_run = if recorder_runs { None } else { read_previous_run(dir) };
        let newest = records_by_stem.values().filter_map(|records| latest_open(records)).max();
        let newest_run = newest.map(|open| open.run.to_owned());
        let mut gaps: BTreeMap<Stem, Vec<Gap>> = BTreeMap::new();
        for (stem, records) in &records_by_stem {
            let is_recorded = recorder_runs
                && latest_open(records).is_some_and(|open| newest_run.as_deref() == Some(open.run));
            let recorder = if is_recorded {
                RecorderState::Running
            } else {
                RecorderState::Stopped { last_run }
            };
            gaps.insert((*stem).clone(), detect_gaps(records.iter().copied(), now, recorder));
        }
        let all_gaps = gaps.values().flatten();
        let last_known = all_gaps.map(|gap| gap.to.unwrap_or(gap.from).max(gap.from)).max();
        let known_until = if recorder_runs { None } else { last_known };
        if let Some(known_until) = known_until {
            for stem_gaps in gaps.values_mut() {
                end_open_gaps(stem_gaps, known_until, now);
            }
        }
        let mut hour_gaps = BTreeMap::new();
        for (stem, records) in records_by_stem {
            let hours: Vec<_> = records.iter().map(|record| record.hour).collect();
            let stem_gaps = gaps.get(stem).map_or(&[][..], Vec::as_slice);
            hour_gaps.insert(stem.clone(), gaps_by_hour(stem_gaps, hours, now));
        }
        Self { records, gaps, gaps_by_hour: hour_gaps, known_until }
    }

    /// Returns the gaps of an hour; none for an hour that is not in the directory.
    pub fn gaps_in_hour(&self, stem: &Stem, hour: Hour) -> HourGaps {
        self.gaps_by_hour.get(stem).and_then(|hours| hours.get(&hour)).copied().unwrap_or_default()
    }
}

/// Ends the gaps that would go on, with the last hour of which something is known, once it is over.
/// What came after it is not a gap of this directory, which may be a copy.
fn end_open_gaps(gaps: &mut Vec<Gap>, known_until: UnixNanos, now: UnixNanos) {
    let last_hour = Hour::containing(known_until.saturating_sub(Duration::from_nanos(1)));
    let end = last_hour.end();
    if end > now {
        return;
    }
    gaps.retain(|gap| gap.to.is_some() || gap.from < end);
    for gap in gaps.iter_mut().filter(|gap| gap.to.is_none()) {
        gap.to = Some(end);
    }
}

/// Returns the number of the newest run of which a journal in the directory tells; 0 if there is
/// none. Reads all journals.
pub fn newest_run_number(dir: &Path) -> u64 {
    let hours = Directory::read(dir).map(|directory| directory.hours).unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let of_hour = |entry: &HourEntry| {
        let journal = journal::read_compacted(&entry.path(dir, FileKind::Journal));
        let opens = journal.ok().flatten().unwrap_or_default();
        let numbers = opens.into_iter().filter_map(|entry| match entry.event {
            JournalEvent::Open(open) => Some(open.run_number),
            _ => None,
        });
        numbers.max().unwrap_or(0)
    };
    parallel_map(hours.iter().collect(), threads, of_hour).into_iter().max().unwrap_or(0)
}

/// Reason for which nothing is known of an hour whose journal exists.
const UNREADABLE: &str = "it cannot be read";

fn read_hour_record(dir: &Path, entry: &HourEntry) -> HourRecord {
    let journal = match journal::read_compacted(&entry.path(dir, FileKind::Journal)) {
        Ok(Some(entries)) => Ok(entries),
        Ok(None) => Err("there is none"),
        Err(_) => Err(UNREADABLE),
    };
    let is_torn_apart = |entries: &Vec<JournalEntry>| {
        entries.iter().any(|entry| entry.event == JournalEvent::PartGone)
    };
    let is_unreadable = match &journal {
        Ok(entries) => is_torn_apart(entries),
        Err(reason) => *reason == UNREADABLE,
    };
    let may_have_lines = entry.has_lines() || is_unreadable;
    // Few hours lack anything, so that few journals are read as a whole. What cannot be looked at is
    // for `streamer verify` to report.
    let is_complete = |entries| missing_by(entries, dir, entry, None).is_ok_and(|it| it.is_empty());
    let missing_lines = match &journal {
        Ok(entries) if !is_complete(entries) => {
            find_missing_lines(dir, entry, None).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    HourRecord { hour: entry.hour, may_have_lines, missing_lines, journal }
}

/// Time at which a run opened an hour. Ordered by run, and then by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RunOpen<'a> {
    run_number: u64,
    /// Unix nanoseconds.
    t: UnixNanos,
    run: &'a str,
}

/// Returns the last `open` event of the hours.
fn latest_open<'a>(records: &[&'a HourRecord]) -> Option<RunOpen<'a>> {
    let journals = records.iter().filter_map(|record| record.journal.as_ref().ok());
    let opens = journals.flatten().filter_map(|entry| match &entry.event {
        JournalEvent::Open(open) => {
            Some(RunOpen { run_number: open.run_number, t: entry.t, run: &open.run })
        }
        _ => None,
    });
    opens.max()
}

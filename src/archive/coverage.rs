//! The account of a directory: what the journals say of every hour, and the gaps of every stem.

use std::collections::BTreeMap;
use std::path::Path;

use super::directory::HourEntry;
use super::file_lock::is_locked;
use super::file_name::{FileKind, RECORDER_LOCK_NAME, Stem};
use super::gaps::{Gap, HourGaps, HourRecord, detect_gaps, gaps_by_hour};
use super::journal;
use super::journal::JournalEvent;
use super::parallel::parallel_for_each;
use crate::base::time::{Hour, UnixNanos};

/// The account of a directory.
#[derive(Debug)]
pub struct Coverage {
    /// What is known of each hour, as they were given.
    pub records: Vec<HourRecord>,
    /// The gaps of each stem, by the time at which they begin.
    pub gaps: BTreeMap<Stem, Vec<Gap>>,
    /// The same by hour.
    gaps_by_hour: BTreeMap<Stem, BTreeMap<Hour, HourGaps>>,
}

impl Coverage {
    /// Reads all journals, on so many threads. The hours come in the order of time.
    pub fn read(dir: &Path, hours: &[HourEntry], now: UnixNanos, threads: usize) -> Self {
        let mut records: Vec<Option<HourRecord>> = vec![None; hours.len()];
        parallel_for_each(
            hours.iter().enumerate().collect(),
            threads,
            |(index, entry)| (index, read_hour_record(dir, entry)),
            |(index, record)| {
                if let Some(slot) = records.get_mut(index) {
                    *slot = Some(record);
                }
            },
        );
        // Every item gives a result.
        let records: Vec<HourRecord> = records.into_iter().flatten().collect();
        let mut stems: BTreeMap<&Stem, Vec<&HourRecord>> = BTreeMap::new();
        for (entry, record) in hours.iter().zip(&records) {
            stems.entry(&entry.stem).or_default().push(record);
        }
        // Whoever holds the directory is the run that opened an hour last, and records all stems of that run.
        let held = is_locked(&dir.join(RECORDER_LOCK_NAME));
        let newest = stems.values().filter_map(|records| latest_open(records)).max();
        let newest = newest.map(|(_, run)| run.to_owned());
        let mut account =
            Self { records: Vec::new(), gaps: BTreeMap::new(), gaps_by_hour: BTreeMap::new() };
        for (stem, records) in stems {
            let running = held
                && latest_open(&records).is_some_and(|(_, run)| newest.as_deref() == Some(run));
            let hours: Vec<_> = records.iter().map(|record| record.hour).collect();
            let gaps = detect_gaps(records, now, running);
            account.gaps_by_hour.insert(stem.clone(), gaps_by_hour(&gaps, hours, now));
            account.gaps.insert(stem.clone(), gaps);
        }
        account.records = records;
        account
    }

    /// The gaps that an hour has.
    pub fn gaps_in_hour(&self, stem: &Stem, hour: Hour) -> HourGaps {
        self.gaps_by_hour.get(stem).and_then(|hours| hours.get(&hour)).copied().unwrap_or_default()
    }
}

fn read_hour_record(dir: &Path, entry: &HourEntry) -> HourRecord {
    let journal = match journal::read_compacted(&entry.path(dir, FileKind::Journal)) {
        Ok(Some(entries)) => Ok(entries),
        Ok(None) => Err("there is none"),
        Err(_) => Err("it cannot be read"),
    };
    HourRecord { hour: entry.hour, has_lines: entry.has_lines(), journal }
}

/// When an hour of these was last opened, and by which run.
fn latest_open<'a>(records: &[&'a HourRecord]) -> Option<(u64, &'a str)> {
    let journals = records.iter().filter_map(|record| record.journal.as_ref().ok());
    let opens = journals.flatten().filter_map(|entry| match &entry.event {
        JournalEvent::Open(open) => Some((entry.t, open.run.as_str())),
        _ => None,
    });
    opens.max()
}

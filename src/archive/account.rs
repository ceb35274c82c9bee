//! The account of a directory: what the journals say of every hour, and the gaps of every stem.

use std::collections::BTreeMap;
use std::path::Path;

use super::directory::HourEntry;
use super::gaps::{Gap, InHour, Record, by_hour, gaps};
use super::journal::{self, Event};
use super::layout::{Kind, LOCK_NAME, Stem};
use super::line_lock::is_held;
use super::workers::for_each;
use crate::clock::{Hour, UnixNanos};

/// The account of a directory.
#[derive(Debug)]
pub struct Account {
    /// What is known of each hour, as they were given.
    pub records: Vec<Record>,
    /// The gaps of each stem, by the time at which they begin.
    pub gaps: BTreeMap<Stem, Vec<Gap>>,
    /// The same by hour.
    in_hours: BTreeMap<Stem, BTreeMap<Hour, InHour>>,
}

impl Account {
    /// Reads all journals, on so many threads. The hours come in the order of time.
    pub fn read(dir: &Path, hours: &[HourEntry], now: UnixNanos, threads: usize) -> Self {
        let mut records: Vec<Option<Record>> = vec![None; hours.len()];
        for_each(
            hours.iter().enumerate().collect(),
            threads,
            |(index, entry)| (index, record(dir, entry)),
            |(index, record)| {
                if let Some(slot) = records.get_mut(index) {
                    *slot = Some(record);
                }
            },
        );
        // Every item gives a result.
        let records: Vec<Record> = records.into_iter().flatten().collect();
        let mut stems: BTreeMap<&Stem, Vec<&Record>> = BTreeMap::new();
        for (entry, record) in hours.iter().zip(&records) {
            stems.entry(&entry.stem).or_default().push(record);
        }
        // Whoever holds the directory is the run that opened an hour last, and records all stems of that run.
        let held = is_held(&dir.join(LOCK_NAME));
        let newest = stems.values().filter_map(|records| last_open(records)).max();
        let newest = newest.map(|(_, run)| run.to_owned());
        let mut account =
            Self { records: Vec::new(), gaps: BTreeMap::new(), in_hours: BTreeMap::new() };
        for (stem, records) in stems {
            let running =
                held && last_open(&records).is_some_and(|(_, run)| newest.as_deref() == Some(run));
            let hours: Vec<_> = records.iter().map(|record| record.hour).collect();
            let gaps = gaps(records, now, running);
            account.in_hours.insert(stem.clone(), by_hour(&gaps, hours, now));
            account.gaps.insert(stem.clone(), gaps);
        }
        account.records = records;
        account
    }

    /// The gaps that an hour has.
    pub fn in_hour(&self, stem: &Stem, hour: Hour) -> InHour {
        self.in_hours.get(stem).and_then(|hours| hours.get(&hour)).copied().unwrap_or_default()
    }
}

fn record(dir: &Path, entry: &HourEntry) -> Record {
    let journal = match journal::outline(&entry.path(dir, Kind::Journal)) {
        Ok(Some(entries)) => Ok(entries),
        Ok(None) => Err("there is none"),
        Err(_) => Err("it cannot be read"),
    };
    Record { hour: entry.hour, has_lines: entry.has_lines(), journal }
}

/// When an hour of these was last opened, and by which run.
fn last_open<'a>(records: &[&'a Record]) -> Option<(u64, &'a str)> {
    let journals = records.iter().filter_map(|record| record.journal.as_ref().ok());
    let opens = journals.flatten().filter_map(|entry| match &entry.event {
        Event::Open(open) => Some((entry.t, open.run.as_str())),
        _ => None,
    });
    opens.max()
}

//! Journals, cut into segments that one run wrote, in the order in which they were written.
//!
//! An hour may have segments of several runs, and a run whose clock is set back writes to an hour
//! again. So the segments are sorted by the number of the run, and within a run by its own count of
//! hours.

use std::collections::HashMap;

use super::hour_record::HourRecord;
use crate::archive::journal::{JournalEntry, JournalEvent, OpenEvent};
use crate::base::time::Hour;

/// The events that one run wrote to one hour without interruption.
#[derive(Debug)]
pub(super) struct RunSegment<'a> {
    pub(super) hour: Hour,
    pub(super) content: SegmentContent<'a>,
}

/// The events of a segment.
#[derive(Debug)]
pub(super) enum SegmentContent<'a> {
    Journal(&'a [JournalEntry]),
    /// The hour has lines, but no journal of a recorder, for this reason.
    NoJournal(&'static str),
}

/// The position of a segment among all segments of a stem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct SegmentOrder {
    /// Number of the run in its directory; 0 for all runs of earlier versions.
    run_number: u64,
    /// Position of the run in the order of the runs' first hours.
    run: usize,
    /// Number of the hour in the run's own count.
    part: u64,
}

/// Returns the segments of a stem, whose hours are given in the order of time.
pub(super) fn segments_by_run<'a>(
    hours: impl IntoIterator<Item = &'a HourRecord>,
) -> Vec<RunSegment<'a>> {
    let mut runs: HashMap<&str, usize> = HashMap::new();
    let mut segments = Vec::new();
    let mut order = SegmentOrder::default();
    for HourRecord { hour, may_have_lines, journal, .. } in hours {
        let hour = *hour;
        let reason = match journal {
            Ok(entries) if find_open(entries).is_some() => {
                for part in split_at_opens(entries) {
                    if let Some(open) = find_open(part) {
                        let next = runs.len();
                        let run = *runs.entry(open.run.as_str()).or_insert(next);
                        order = SegmentOrder { run_number: open.run_number, run, part: open.part };
                    }
                    let content = SegmentContent::Journal(part);
                    segments.push((order, RunSegment { hour, content }));
                }
                continue;
            }
            // The `open` event stood there.
            Ok(entries) if entries.iter().any(|entry| entry.event == JournalEvent::PartGone) => {
                "a part of it is missing"
            }
            // Another program recorded or sealed the hour.
            Ok(_) => "no recorder kept one",
            Err(reason) => reason,
        };
        // A journal without lines remains of an hour that was removed.
        if *may_have_lines {
            let content = SegmentContent::NoJournal(reason);
            segments.push((order, RunSegment { hour, content }));
        }
    }
    // The sort is stable, so that a segment without an order of its own stays behind the segment
    // that preceded it.
    segments.sort_by_key(|(order, _)| *order);
    segments.into_iter().map(|(_, segment)| segment).collect()
}

/// Cuts a journal before each `open` event, or before the `recovered` event that precedes it.
fn split_at_opens(entries: &[JournalEntry]) -> Vec<&[JournalEntry]> {
    let mut parts = Vec::new();
    let mut rest = entries;
    loop {
        let mut opened = false;
        let end = rest.iter().position(|entry| match entry.event {
            JournalEvent::Open(_) | JournalEvent::Recovered(_) if opened => true,
            JournalEvent::Open(_) => {
                opened = true;
                false
            }
            _ => false,
        });
        let (part, next) = rest.split_at(end.unwrap_or(rest.len()));
        if !part.is_empty() {
            parts.push(part);
        }
        if next.is_empty() {
            return parts;
        }
        rest = next;
    }
}

fn find_open(entries: &[JournalEntry]) -> Option<&OpenEvent> {
    entries.iter().find_map(|entry| match &entry.event {
        JournalEvent::Open(open) => Some(&**open),
        _ => None,
    })
}

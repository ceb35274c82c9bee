//! Journals, run by run.
//!
//! An hour may have parts of several runs, and when the clock is set back a run comes again to hours
//! in which it, or another, was before. So the parts are put in the order of the runs, and those of a
//! run in the order in which it wrote them.

use std::collections::HashMap;

use super::hour_record::HourRecord;
use crate::archive::journal::{JournalEntry, JournalEvent, OpenEvent};
use crate::base::time::Hour;

/// What a run has noted in an hour, without a break.
#[derive(Debug)]
pub(super) struct RunSegment<'a> {
    pub(super) hour: Hour,
    pub(super) content: SegmentContent<'a>,
}

#[derive(Debug)]
pub(super) enum SegmentContent<'a> {
    Journal(&'a [JournalEntry]),
    /// There are lines, but no journal of a recorder; why.
    NoJournal(&'static str),
}

/// The segments of a stem, whose hours come in the order of time.
pub(super) fn segments_by_run<'a>(
    hours: impl IntoIterator<Item = &'a HourRecord>,
) -> Vec<RunSegment<'a>> {
    let mut runs: HashMap<&str, usize> = HashMap::new();
    let mut segments = Vec::new();
    // The run, and its part.
    let mut last = (0, 0);
    for HourRecord { hour, has_lines, journal } in hours {
        let opens = |entries: &[JournalEntry]| {
            entries.iter().any(|e| matches!(e.event, JournalEvent::Open(_)))
        };
        let why = match journal {
            Ok(entries) if opens(entries) => {
                for part in split_at_opens(entries) {
                    if let Some(open) = find_open(part) {
                        let next = runs.len();
                        last = (*runs.entry(open.run.as_str()).or_insert(next), open.part);
                    }
                    segments.push((
                        last,
                        RunSegment { hour: *hour, content: SegmentContent::Journal(part) },
                    ));
                }
                continue;
            }
            // Sealed by another program, or recorded by one.
            Ok(_) => "no recorder kept one",
            Err(why) => why,
        };
        // Without lines it is all that is left of an hour that was removed.
        if *has_lines {
            segments
                .push((last, RunSegment { hour: *hour, content: SegmentContent::NoJournal(why) }));
        }
    }
    // Stable: what has no place of its own stays behind what it was found behind.
    segments.sort_by_key(|(place, _)| *place);
    segments.into_iter().map(|(_, segment)| segment).collect()
}

/// Cuts a journal before every beginning: an `open`, or the `recovered` in front of it.
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

fn find_open(part: &[JournalEntry]) -> Option<&OpenEvent> {
    part.iter().find_map(|entry| match &entry.event {
        JournalEvent::Open(open) => Some(&**open),
        _ => None,
    })
}

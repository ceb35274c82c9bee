//! Journals, run by run.
//!
//! An hour may have parts of several runs, and when the clock is set back a run comes again to hours
//! in which it, or another, was before. So the parts are put in the order of the runs, and those of a
//! run in the order in which it wrote them.

use std::collections::HashMap;

use super::Record;
use crate::archive::journal::{Entry, Event, Open};
use crate::clock::Hour;

/// What a run has noted in an hour, without a break.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) hour: Hour,
    pub(super) what: What<'a>,
}

#[derive(Debug)]
pub(super) enum What<'a> {
    Events(&'a [Entry]),
    /// There are lines, but no journal of a recorder; why.
    Blank(&'static str),
}

/// The segments of a stem, whose hours come in the order of time.
pub(super) fn segments<'a>(hours: impl IntoIterator<Item = &'a Record>) -> Vec<Segment<'a>> {
    let mut runs: HashMap<&str, usize> = HashMap::new();
    let mut segments = Vec::new();
    // The run, and its part.
    let mut last = (0, 0);
    for Record { hour, has_lines, journal } in hours {
        let opens = |entries: &[Entry]| entries.iter().any(|e| matches!(e.event, Event::Open(_)));
        let why = match journal {
            Ok(entries) if opens(entries) => {
                for part in parts(entries) {
                    if let Some(open) = open_of(part) {
                        let next = runs.len();
                        last = (*runs.entry(open.run.as_str()).or_insert(next), open.part);
                    }
                    segments.push((last, Segment { hour: *hour, what: What::Events(part) }));
                }
                continue;
            }
            // Sealed by another program, or recorded by one.
            Ok(_) => "no recorder kept one",
            Err(why) => why,
        };
        // Without lines it is all that is left of an hour that was removed.
        if *has_lines {
            segments.push((last, Segment { hour: *hour, what: What::Blank(why) }));
        }
    }
    // Stable: what has no place of its own stays behind what it was found behind.
    segments.sort_by_key(|(place, _)| *place);
    segments.into_iter().map(|(_, segment)| segment).collect()
}

/// Cuts a journal before every beginning: an `open`, or the `recovered` in front of it.
fn parts(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut parts = Vec::new();
    let mut rest = entries;
    loop {
        let mut opened = false;
        let end = rest.iter().position(|entry| match entry.event {
            Event::Open(_) | Event::Recovered(_) if opened => true,
            Event::Open(_) => {
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

fn open_of(part: &[Entry]) -> Option<&Open> {
    part.iter().find_map(|entry| match &entry.event {
        Event::Open(open) => Some(&**open),
        _ => None,
    })
}

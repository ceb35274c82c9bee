//! Gaps: the intervals in which something may be missing from the archive, with their causes.
//!
//! Gaps are computed from the journals, in this module alone; nothing else stores them.

mod certainty;
mod detector;
mod gap;
mod gap_cause;
mod gap_kind;
mod gap_length;
mod hour_record;
mod run_segment;
mod topic_outages;
mod wall_clock;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::certainty::Certainty;
use self::detector::GapDetector;
pub use self::detector::RecorderState;
pub use self::gap::Gap;
use self::gap_cause::GapCause;
pub use self::gap_kind::GapKind;
pub use self::gap_length::GapLength;
pub use self::hour_record::HourRecord;
use self::run_segment::segments_by_run;
use crate::archive::missing_lines::MissingLines;
use crate::base::time::{Hour, UnixNanos};

/// Returns the gaps of one stem, sorted by their start. The hours are given in the order of time.
pub fn detect_gaps<'a>(
    hours: impl IntoIterator<Item = &'a HourRecord>,
    now: UnixNanos,
    recorder: RecorderState,
) -> Vec<Gap> {
    let hours = Vec::from_iter(hours);
    let mut detector = GapDetector::default();
    for segment in segments_by_run(hours.iter().copied()) {
        detector.process_segment(&segment);
    }
    let mut gaps = detector.finish(recorder);
    gaps.extend(hours.into_iter().flat_map(gaps_of_missing_lines));
    for gap in &mut gaps {
        // The length says how long a gap was within which the clock was set back.
        if gap.length == GapLength::Bounds {
            gap.to = gap.to.map(|to| to.max(gap.from));
        }
        // An open gap cannot start in the future.
        if gap.to.is_none() {
            gap.from = gap.from.min(now);
        }
    }
    gaps.sort_by_key(|gap| (gap.from, gap.to.is_none(), gap.to, gap.kind));
    gaps
}

/// Returns the gaps of lines that the files of an hour do not have, and of whose loss the journal does
/// not tell.
fn gaps_of_missing_lines(record: &HourRecord) -> impl Iterator<Item = Gap> {
    let hour = record.hour;
    let missing = record.missing_lines.iter().filter(|lines| !lines.is_recorded);
    missing.map(move |MissingLines { kind, found_bytes, bytes, lost, since, until, .. }| {
        let is_dated = *since > UnixNanos::default();
        let certainty = if lost.is_some() { Certainty::Exact } else { Certainty::AtMost };
        Gap {
            from: if is_dated { *since } else { hour.start() },
            to: Some(if is_dated { *until } else { hour.end() }),
            kind: GapKind::Dropped,
            cause: GapCause::LinesMissing.as_str().to_owned(),
            detail: format!("the `{kind}` has {found_bytes} of {bytes} bytes of lines"),
            messages: *lost,
            certainty,
            length: GapLength::Bounds,
        }
    })
}

/// Length of an hour.
const HOUR: Duration = Duration::from_secs(3600);

/// The gaps within one hour, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HourGaps {
    /// Number of gaps that reach into the hour.
    pub count: u64,
    /// Time within the hour for which something may be missing. Overlapping gaps count once, and
    /// gaps in which messages only waited do not count.
    pub duration: Duration,
    /// Time within the hour before the recording began, which is a part of `duration`.
    pub not_recorded: Duration,
    /// True if one of the gaps is of kind `unknown`.
    pub has_unknown: bool,
}

/// Returns the gaps of each of these hours, leaving out hours without gaps. The gaps are sorted by
/// their start; open gaps last until `now`.
pub fn gaps_by_hour(
    gaps: &[Gap],
    hours: impl IntoIterator<Item = Hour>,
    now: UnixNanos,
) -> BTreeMap<Hour, HourGaps> {
    let mut found: BTreeMap<Hour, HourGaps> =
        hours.into_iter().map(|hour| (hour, HourGaps::default())).collect();
    // End of the time that earlier gaps cover: with gaps sorted by start, one number suffices.
    let mut covered = UnixNanos::default();
    for gap in gaps {
        let end = gap.to.unwrap_or(now.max(gap.from));
        if gap.is_reversed() {
            add_reversed(&mut found, gap, end);
            continue;
        }
        for (hour, entry) in found.range_mut(Hour::containing(gap.from)..=Hour::containing(end)) {
            if end <= hour.start() && end > gap.from {
                continue;
            }
            entry.count += 1;
            entry.has_unknown |= gap.kind == GapKind::Unknown;
            if gap.kind != GapKind::Stalled {
                let from = gap.from.max(hour.start()).max(covered);
                let length = end.min(hour.end()).saturating_since(from);
                entry.duration += length;
                if gap.kind == GapKind::NotRecorded {
                    entry.not_recorded += length;
                }
            }
        }
        if gap.kind != GapKind::Stalled {
            covered = covered.max(end);
        }
    }
    found.retain(|_, hour| hour.count > 0);
    // A gap within which the clock was set back has no place among the others, and may overlap them.
    for hour in found.values_mut() {
        hour.duration = hour.duration.min(HOUR);
    }
    found
}

/// Adds a gap within which the clock was set back to the hour in which it starts and the hour in
/// which it ends. Where the clock was set, and so which hours lie in between, is not known.
fn add_reversed(found: &mut BTreeMap<Hour, HourGaps>, gap: &Gap, end: UnixNanos) {
    let mut rest = gap.duration(end);
    let (first, last) = (Hour::containing(gap.from), Hour::containing(end));
    let within_first = first.end().saturating_since(gap.from);
    let within_last = end.saturating_since(last.start());
    for (hour, room) in [(first, within_first), (last, within_last)] {
        let Some(entry) = found.get_mut(&hour) else { continue };
        entry.count += 1;
        entry.has_unknown |= gap.kind == GapKind::Unknown || rest.is_none();
        if let Some(rest) = &mut rest {
            let part = room.min(*rest);
            entry.duration += part;
            *rest -= part;
        }
        if first == last {
            break;
        }
    }
}

#[cfg(test)]
mod tests;

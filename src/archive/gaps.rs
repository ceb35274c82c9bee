//! Gaps: the stretches of time in which something may be missing from the archive, and why. They
//! are worked out from the journals, here and nowhere else.

mod certainty;
mod detector;
mod gap;
mod gap_kind;
mod hour_record;
mod run_segment;
mod topic_outages;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::certainty::Certainty;
use self::detector::GapDetector;
pub use self::gap::Gap;
pub use self::gap_kind::GapKind;
pub use self::hour_record::HourRecord;
use self::run_segment::segments_by_run;
use crate::base::time::{Hour, UnixNanos};

/// The gaps of one stem, by the time at which they begin. The hours come in the order of time.
/// `running` says whether a recorder is at work on it `now`.
pub fn detect_gaps<'a>(
    hours: impl IntoIterator<Item = &'a HourRecord>,
    now: UnixNanos,
    running: bool,
) -> Vec<Gap> {
    let mut teller = GapDetector::default();
    for segment in segments_by_run(hours) {
        teller.process_segment(&segment);
    }
    let mut gaps = teller.finish(running);
    for gap in &mut gaps {
        // A clock that was set back makes an end lie before its beginning.
        gap.to = gap.to.map(|to| to.max(gap.from));
        // And a gap that goes on cannot begin later than now.
        if gap.to.is_none() {
            gap.from = gap.from.min(now);
        }
    }
    gaps.sort_by_key(|gap| (gap.from, gap.to.is_none(), gap.to, gap.kind));
    gaps
}

/// The gaps that an hour has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HourGaps {
    /// How many reach into it.
    pub count: u64,
    /// For how long something may be missing: stretches that overlap count once, and those in which
    /// messages only waited not at all.
    pub duration: Duration,
    /// Whether a part of that is of kind `unknown`.
    pub has_unknown: bool,
}

/// The gaps of these hours, which come in the order of time. Gaps that go on reach to `now`; hours
/// without any are left out.
pub fn gaps_by_hour(
    gaps: &[Gap],
    hours: impl IntoIterator<Item = Hour>,
    now: UnixNanos,
) -> BTreeMap<Hour, HourGaps> {
    let mut found: BTreeMap<Hour, HourGaps> =
        hours.into_iter().map(|h| (h, HourGaps::default())).collect();
    // Gaps come by their beginnings, so that what is covered so far is known by its end.
    let mut covered = UnixNanos::default();
    for gap in gaps {
        let end = gap.to.unwrap_or(now.max(gap.from));
        for (hour, entry) in found.range_mut(Hour::containing(gap.from)..=Hour::containing(end)) {
            if end <= hour.start() && end > gap.from {
                continue;
            }
            entry.count += 1;
            entry.has_unknown |= gap.kind == GapKind::Unknown;
            if gap.kind != GapKind::Stalled {
                let from = gap.from.max(hour.start()).max(covered);
                entry.duration += end.min(hour.end()).saturating_since(from);
            }
        }
        if gap.kind != GapKind::Stalled {
            covered = covered.max(end);
        }
    }
    found.retain(|_, hour| hour.count > 0);
    found
}

#[cfg(test)]
mod tests;

//! The rows of the table of gaps: what overlaps, and what stems share, is one row.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::format::format_cause;
use crate::archive::gaps::{Certainty, Gap, GapKind, GapLength};
use crate::base::time::UnixNanos;

/// Difference between the bounds of the gaps of two stems up to which they are one row.
const MAX_SKEW: Duration = Duration::from_secs(1);

/// A row of the table: a gap of one or several stems.
#[derive(Debug)]
pub(super) struct GapRow {
    /// Labels of the stems.
    pub(super) stems: BTreeSet<String>,
    pub(super) gap: Gap,
}

/// Returns a row for each gap of each stem, in the order of time. Gaps of one stem that overlap are
/// one row. The gaps are given in the order of their starts.
pub(super) fn rows_by_stem(gaps: impl IntoIterator<Item = (String, Gap)>) -> Vec<GapRow> {
    let mut by_stem: BTreeMap<String, Vec<Gap>> = BTreeMap::new();
    for (stem, gap) in gaps {
        let merged = by_stem.entry(stem).or_default();
        let earlier = merged.iter_mut().rfind(|earlier| overlap(earlier, &gap));
        match earlier {
            Some(earlier) => merge_overlapping(earlier, &gap),
            None => merged.push(gap),
        }
    }
    let rows = by_stem.into_iter().flat_map(|(stem, gaps)| {
        gaps.into_iter().map(move |gap| GapRow { stems: BTreeSet::from([stem.clone()]), gap })
    });
    let mut rows: Vec<GapRow> = rows.collect();
    rows.sort_by_key(|row| row.gap.from);
    rows
}

/// Returns the rows with those joined that differ in the stem alone.
pub(super) fn join_stems(rows: Vec<GapRow>) -> Vec<GapRow> {
    let mut joined: Vec<GapRow> = Vec::new();
    // Start of the first gap of each row: a row does not grow from one gap to the next.
    let mut newest: BTreeMap<(GapKind, String), usize> = BTreeMap::new();
    for row in rows {
        let key = (row.gap.kind, format_cause(&row.gap));
        let same = newest.get(&key).and_then(|index| joined.get_mut(*index));
        if let Some(same) = same.filter(|same| are_shared(same, &row)) {
            same.gap.to = same.gap.to.max(row.gap.to);
            same.gap.messages = sum_messages(&same.gap, &row.gap);
            same.stems.extend(row.stems);
        } else {
            newest.insert(key, joined.len());
            joined.push(row);
        }
    }
    joined
}

/// Returns the time that the rows cover: overlapping ones once, and stalls not at all.
pub(super) fn wall_time<'a>(
    rows: impl IntoIterator<Item = &'a GapRow>,
    now: UnixNanos,
) -> Duration {
    let mut covered = UnixNanos::default();
    let mut total = Duration::ZERO;
    for GapRow { gap, .. } in rows.into_iter().filter(|row| row.gap.kind != GapKind::Stalled) {
        if gap.length != GapLength::Bounds || gap.is_reversed() {
            total += gap.duration(now).unwrap_or_default();
            continue;
        }
        let end = gap.to.unwrap_or(now);
        total += end.saturating_since(gap.from.max(covered));
        covered = covered.max(end);
    }
    total
}

/// Returns whether a gap and a later one of the same stem overlap. Messages that only waited are
/// not missing, and a gap within which the clock was set has no place among the others.
fn overlap(earlier: &Gap, later: &Gap) -> bool {
    let is_placed = |gap: &Gap| gap.length == GapLength::Bounds && !gap.is_reversed();
    let is_stall = |gap: &Gap| gap.kind == GapKind::Stalled;
    is_placed(earlier)
        && is_placed(later)
        && is_stall(earlier) == is_stall(later)
        && earlier.to.is_none_or(|end| later.from < end)
}

fn merge_overlapping(earlier: &mut Gap, later: &Gap) {
    let messages = sum_messages(earlier, later);
    let cause = format_cause(later);
    if !format_cause(earlier).split(" + ").any(|known| known == cause) {
        earlier.cause = format!("{} + {cause}", format_cause(earlier));
        earlier.detail = String::new();
    }
    // The kind is that of the longest part, and unknown if one part is.
    let is_longer = match (earlier.to, later.to) {
        (Some(a), Some(b)) => b.saturating_since(later.from) > a.saturating_since(earlier.from),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if later.kind == GapKind::Unknown || is_longer && earlier.kind != GapKind::Unknown {
        earlier.kind = later.kind;
    }
    earlier.to = earlier.to.zip(later.to).map(|(a, b)| a.max(b));
    // A certain part within an uncertain one: something is missing, and at most this.
    if earlier.certainty != later.certainty {
        earlier.certainty = Certainty::AtMost;
    }
    earlier.messages = messages;
}

/// Returns whether the gap of another stem has the bounds of the row, about, and its certainty.
fn are_shared(row: &GapRow, other: &GapRow) -> bool {
    let is_near = |a: UnixNanos, b: UnixNanos| a.max(b).saturating_since(a.min(b)) <= MAX_SKEW;
    let ends_alike = match (row.gap.to, other.gap.to) {
        (Some(a), Some(b)) => is_near(a, b),
        (a, b) => a == b,
    };
    row.stems.is_disjoint(&other.stems)
        && row.gap.length == other.gap.length
        && row.gap.certainty == other.gap.certainty
        && is_near(row.gap.from, other.gap.from)
        && ends_alike
}

/// Returns the number of missing messages of both gaps, if both are known.
fn sum_messages(a: &Gap, b: &Gap) -> Option<u64> {
    a.messages.zip(b.messages).map(|(a, b)| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: u64, to: u64, kind: GapKind, cause: &str) -> Gap {
        Gap {
            from: UnixNanos::from_seconds(from),
            to: Some(UnixNanos::from_seconds(to)),
            length: GapLength::Bounds,
            kind,
            cause: cause.to_owned(),
            detail: String::new(),
            messages: None,
            certainty: Certainty::Exact,
        }
    }

    #[test]
    fn overlapping_gaps_of_a_stem_are_one_row_and_counted_once() {
        let gaps = [
            gap(10, 20, GapKind::Down, "eof"),
            gap(15, 30, GapKind::NotRunning, "crashed"),
            gap(30, 31, GapKind::Down, "eof"),
            gap(12, 40, GapKind::Stalled, "disk"),
        ];
        let rows = rows_by_stem(gaps.map(|gap| ("a".to_owned(), gap)));
        let causes: Vec<_> = rows.iter().map(|row| row.gap.cause.as_str()).collect();
        assert_eq!(causes, ["eof + crashed", "disk", "eof"]);
        assert_eq!(rows[0].gap.kind, GapKind::NotRunning);
        assert_eq!(wall_time(&rows, UnixNanos::from_seconds(99)), Duration::from_secs(21));
    }

    #[test]
    fn what_stems_share_is_one_row_and_what_differs_is_not() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let shared = names.map(|stem| (stem, gap(10, 20, GapKind::Down, "eof")));
        let others = [
            ("a".to_owned(), gap(50, 60, GapKind::Down, "eof")),
            ("b".to_owned(), gap(55, 60, GapKind::Down, "eof")),
        ];
        let rows = rows_by_stem(shared.into_iter().chain(others));
        let now = UnixNanos::from_seconds(99);
        let stem_time: Duration = rows.iter().filter_map(|row| row.gap.duration(now)).sum();
        assert_eq!(stem_time, Duration::from_secs(45));
        let joined = join_stems(rows);
        let counts: Vec<_> = joined.iter().map(|row| row.stems.len()).collect();
        assert_eq!(counts, [3, 1, 1]);
        assert_eq!(wall_time(&joined, now), Duration::from_secs(20));
    }
}

//! The chart of one stem, hour by hour.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::day::Day;
use super::hour_cell::HourCell;
use super::report_totals::ReportTotals;
use crate::archive::gaps::{Gap, GapKind, HourGaps, gaps_by_hour};
use crate::archive::hour_summary::{HourState, HourSummary};
use crate::base::time::{Hour, UnixNanos};
use crate::cli::format::gap_duration;
use crate::cli::time_arg::TimeRange;

/// A longer stretch of days without hours on disk is left out of the chart.
const MAX_BLANK_DAYS: u64 = 31;
/// Maximum number of gaps that are listed below a chart.
const MAX_LISTED_GAPS: usize = 50;

/// The hours and the gaps of one stem.
#[derive(Default)]
pub(super) struct StemReport {
    rows: BTreeMap<Hour, HourSummary>,
    gaps: Vec<Gap>,
    /// The gaps by hour, also for hours without files.
    gaps_by_hour: BTreeMap<Hour, HourGaps>,
    /// The days of the chart, in order.
    days: Vec<Day>,
}

/// The longest gaps of a stem, in the order of time.
pub(super) struct LongestGaps<'a> {
    pub(super) shown: Vec<&'a Gap>,
    /// Number of shorter gaps that are not shown.
    pub(super) omitted: usize,
}

impl StemReport {
    pub(super) fn add_row(&mut self, row: HourSummary) {
        self.rows.insert(row.hour, row);
    }

    pub(super) fn add_gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.gaps.is_empty()
    }

    /// Selects the days in the range, or by default the days from the first to the last recording.
    pub(super) fn select_range(&mut self, range: TimeRange, now: UnixNanos) {
        let first_row = self.rows.keys().next().map(|hour| hour.start());
        let first_gap = self.gaps.first().map(|gap| gap.from);
        let first = first_row.into_iter().chain(first_gap).min().unwrap_or(now);
        // The chart of an archive that no recorder writes to ends with its last hour.
        let last_row = self.rows.keys().next_back().map(|hour| hour.start());
        let last_gap = self.gaps.iter().filter_map(|gap| gap.to).max();
        let last = last_row.into_iter().chain(last_gap).max().unwrap_or(now);
        let first_day = Day::containing(range.from.unwrap_or(first));
        let end_day = range.to.map_or(Day::containing(last).next(), Day::beginning_from);
        let start = first_day.start();
        let end = end_day.start();
        self.rows.retain(|hour, _| hour.start() >= start && hour.start() < end);
        let days_with_rows = self.rows.keys().map(|hour| Day::containing(hour.start()));
        self.days = days_to_show(first_day, end_day, days_with_rows);
        let hours = self.days.iter().flat_map(|day| day.hours());
        self.gaps_by_hour = gaps_by_hour(&self.gaps, hours, now.min(end));
        self.gaps.retain(|gap| gap.from < end && gap.to.is_none_or(|to| to > start));
    }

    fn cell(&self, hour: Hour, now: UnixNanos) -> HourCell<'_> {
        let row = self.rows.get(&hour);
        let gaps = self.gaps_by_hour.get(&hour);
        let length = hour.end().min(now).saturating_since(hour.start());
        let has_data = (row.is_some() || gaps.is_some()) && !length.is_zero();
        let gap_duration = gaps.map_or(Duration::ZERO, |gaps| gaps.duration);
        let is_missing = row.is_some_and(|row| row.state == HourState::Missing);
        let not_recorded = gaps.map_or(Duration::ZERO, |gaps| gaps.not_recorded);
        let covered = if is_missing { Duration::ZERO } else { length.saturating_sub(gap_duration) };
        HourCell {
            covered_fraction: has_data.then(|| covered.as_secs_f64() / length.as_secs_f64()),
            covered,
            recordable: length.saturating_sub(not_recorded),
            has_unknown: gaps.is_some_and(|gaps| gaps.has_unknown),
            row,
        }
    }

    /// Returns each day with its 24 hours.
    pub(super) fn cells_by_day(
        &self,
        now: UnixNanos,
    ) -> impl Iterator<Item = (Day, Vec<HourCell<'_>>)> {
        self.days
            .iter()
            .map(move |day| (*day, day.hours().map(|hour| self.cell(hour, now)).collect()))
    }

    /// Returns the number of messages of the busiest hour.
    pub(super) fn max_messages(&self) -> u64 {
        self.rows.values().filter_map(|row| row.messages).max().unwrap_or(0)
    }

    pub(super) fn totals(&self, now: UnixNanos) -> ReportTotals {
        let mut totals = ReportTotals::default();
        for cell in self.cells_by_day(now).flat_map(|(_, cells)| cells) {
            totals.add_cell(cell);
        }
        for row in self.rows.values().filter(|row| row.state != HourState::Missing) {
            totals.add_row(row);
        }
        totals
    }

    /// Returns the longest gaps. Gaps with dropped messages come before all others, because they
    /// are losses and not only times at which messages may be missing.
    pub(super) fn longest_gaps(&self, now: UnixNanos) -> LongestGaps<'_> {
        let mut shown: Vec<_> = self.gaps.iter().collect();
        shown.sort_by_key(|gap| Reverse((gap.kind == GapKind::Dropped, gap_duration(gap, now))));
        let omitted = shown.len().saturating_sub(MAX_LISTED_GAPS);
        shown.truncate(MAX_LISTED_GAPS);
        shown.sort_by_key(|gap| gap.from);
        LongestGaps { shown, omitted }
    }
}

/// Returns the days from `first` to before `end`, without long stretches of days that are not
/// filled. `filled` is in order.
fn days_to_show(first: Day, end: Day, filled: impl Iterator<Item = Day>) -> Vec<Day> {
    let mut days = Vec::new();
    let mut next = first;
    for day in filled.chain([end]) {
        if day.0.saturating_sub(next.0) <= MAX_BLANK_DAYS {
            days.extend((next.0..day.0).map(Day));
        }
        if day < end && days.last() != Some(&day) {
            days.push(day);
        }
        next = next.max(day.next());
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_hours_are_omitted_when_they_exceed_the_limit() {
        let shown = |first, end, filled: &[u64]| {
            let days = days_to_show(Day(first), Day(end), filled.iter().copied().map(Day));
            days.into_iter().map(|day| day.0).collect::<Vec<_>>()
        };
        assert_eq!(shown(10, 13, &[10, 10, 12]), [10, 11, 12]);
        assert_eq!(shown(10, 13, &[]), [10, 11, 12]);
        assert_eq!(shown(0, 20_001, &[0, 1, 20_000]), [0, 1, 20_000]);
        assert_eq!(shown(0, 20_001, &[]), Vec::<u64>::new());
    }
}

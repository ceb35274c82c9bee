//! The totals of a chart.

use std::fmt;

use indicatif::{DecimalBytes, HumanCount};

use super::grade::Grade;
use super::hour_cell::HourCell;
use crate::archive::hour_summary::HourSummary;

/// The totals of a chart.
#[derive(Default)]
pub(super) struct ReportTotals {
    /// Hours with a recording or a gap.
    hours: u64,
    complete: u64,
    /// Hours of which a part has no journal.
    unknown: u64,
    /// Sum of the covered fractions of all other hours.
    covered_sum: f64,
    messages: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

impl ReportTotals {
    /// Adds the completeness of an hour. An hour without data does not count.
    pub(super) fn add_cell(&mut self, cell: HourCell<'_>) {
        let Some(covered) = cell.covered_fraction else { return };
        self.hours += 1;
        match cell.grade() {
            Grade::Unknown => self.unknown += 1,
            grade => {
                self.complete += u64::from(grade == Grade::Complete);
                self.covered_sum += covered;
            }
        }
    }

    /// Adds the messages and the sizes of an hour, as far as they are known.
    pub(super) fn add_row(&mut self, row: &HourSummary) {
        self.messages += row.messages.unwrap_or(0);
        self.raw_bytes += row.raw_bytes.unwrap_or(0);
        self.stored_bytes += row.stored_bytes;
    }
}

/// One line for the heading of a chart.
impl fmt::Display for ReportTotals {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hours, complete, unknown, covered_sum, messages, raw_bytes, stored_bytes } =
            self;
        write!(f, "{hours} hours, {complete} of them complete, ")?;
        if *unknown > 0 {
            write!(f, "{unknown} unknown, ")?;
        }
        let known = hours - unknown;
        if known > 0 {
            // An incomplete archive must not be rounded to 100 %.
            let max_percent = if *complete < known { 99.999 } else { 100.0 };
            let percent = (covered_sum * 100.0 / known as f64).min(max_percent);
            let share = if *unknown > 0 { "of the others" } else { "of the time" };
            write!(f, "listening {percent:.3} % {share}, ")?;
        }
        write!(
            f,
            "{} messages, {}, {} on disk",
            HumanCount(*messages),
            DecimalBytes(*raw_bytes),
            DecimalBytes(*stored_bytes),
        )
    }
}

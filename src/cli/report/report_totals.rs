//! The totals of a chart.

use std::fmt;
use std::time::Duration;

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
    /// Covered time of all other hours.
    covered: Duration,
    /// Time of all other hours since the recording began.
    recordable: Duration,
    messages: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

impl ReportTotals {
    /// Adds the completeness of an hour. An hour without data does not count.
    pub(super) fn add_cell(&mut self, cell: HourCell<'_>) {
        if cell.covered_fraction.is_none() {
            return;
        }
        self.hours += 1;
        match cell.grade() {
            Grade::Unknown => self.unknown += 1,
            grade => {
                self.complete += u64::from(grade == Grade::Complete);
                self.covered += cell.covered;
                self.recordable += cell.recordable;
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hours,
            complete,
            unknown,
            covered,
            recordable,
            messages,
            raw_bytes,
            stored_bytes,
        } = self;
        write!(f, "{hours} hours, {complete} of them complete, ")?;
        if *unknown > 0 {
            write!(f, "{unknown} unknown, ")?;
        }
        if !recordable.is_zero() {
            // An incomplete archive must not be rounded to 100 %.
            let max_percent = if covered < recordable { 99.999 } else { 100.0 };
            let share = covered.as_secs_f64() / recordable.as_secs_f64();
            let percent = (share * 100.0).min(max_percent);
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

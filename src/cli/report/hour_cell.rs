//! One hour of a chart.

use std::time::Duration;

use super::grade::Grade;
use crate::archive::hour_summary::HourSummary;

/// One hour of a chart.
#[derive(Clone, Copy)]
pub(super) struct HourCell<'a> {
    /// Fraction of the hour in which the recorder received messages, from 0 to 1; `None` for an hour
    /// without a recording and without a gap.
    pub(super) covered_fraction: Option<f64>,
    /// Time of the hour in which the recorder received messages.
    pub(super) covered: Duration,
    /// Time of the hour so far since the recording began.
    pub(super) recordable: Duration,
    /// Set if a part of the hour has no journal.
    pub(super) has_unknown: bool,
    /// The files of the hour; `None` if there are none.
    pub(super) row: Option<&'a HourSummary>,
}

impl HourCell<'_> {
    pub(super) fn grade(self) -> Grade {
        match self.covered_fraction {
            None => Grade::NoData,
            Some(_) if self.has_unknown => Grade::Unknown,
            Some(covered) => Grade::of_fraction(covered),
        }
    }

    pub(super) fn messages(self) -> u64 {
        self.row.and_then(|row| row.messages).unwrap_or(0)
    }
}

//! The completeness of an hour, in steps.

/// The completeness of an hour, in steps. The percentage is the part of the hour in which the
/// recorder received messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    /// The hour is before the first recording, after the last one, or in the future.
    NoData,
    Complete,
    /// From 99 % to less than 100 %.
    AtLeast99,
    /// From 90 % to less than 99 %.
    AtLeast90,
    /// From 50 % to less than 90 %.
    AtLeast50,
    /// More than 0 % and less than 50 %.
    Below50,
    Zero,
    /// A part of the hour has no journal.
    Unknown,
}

impl Grade {
    /// The grades in the legend, with their labels.
    pub(super) const LEGEND: [(Self, &'static str); 7] = [
        (Self::Complete, "complete"),
        (Self::AtLeast99, "99 % and more"),
        (Self::AtLeast90, "90 % and more"),
        (Self::AtLeast50, "50 % and more"),
        (Self::Below50, "less"),
        (Self::Zero, "nothing"),
        (Self::Unknown, "unknown"),
    ];

    /// Returns the grade of an hour of which this fraction was covered.
    pub(super) fn of_fraction(covered: f64) -> Self {
        match covered {
            covered if covered >= 1.0 => Self::Complete,
            covered if covered >= 0.99 => Self::AtLeast99,
            covered if covered >= 0.9 => Self::AtLeast90,
            covered if covered >= 0.5 => Self::AtLeast50,
            covered if covered > 0.0 => Self::Below50,
            _ => Self::Zero,
        }
    }
}

//! The length of a gap.

use std::time::Duration;

/// The length of a gap, which its bounds do not give where the wall clock was set within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GapLength {
    /// The time from the start to the end.
    #[default]
    Bounds,
    /// This time, by a clock that is never set.
    Measured(Duration),
    /// Not known: the machine was started in between, and its clock was set back.
    Unknown,
}

//! One line of a timeline.

/// Something that happened at a time.
#[derive(Debug)]
pub(super) struct TimelineLine {
    /// Unix nanoseconds.
    pub(super) time: u64,
    pub(super) text: String,
}

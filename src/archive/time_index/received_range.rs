//! Lines that were received together.

use std::ops::Range;

use crate::base::time::UnixNanos;

/// A range of the lines of an hour, and the time at which it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedRange {
    /// Bytes of the range, counted from the start of the lines.
    pub bytes: Range<u64>,
    /// Time of the receipt, to the tick below.
    pub received: UnixNanos,
}

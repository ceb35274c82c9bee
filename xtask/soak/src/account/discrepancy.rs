//! A place at which the account of the recorder is not true.

/// Nanoseconds between discrepancies that probably have one cause.
const NEAR: u64 = 500_000_000;

/// A difference between account and truth, with its place.
#[derive(Debug)]
pub(super) struct Discrepancy {
    pub(super) text: String,
    /// The stem of the files that it concerns; empty if it concerns none.
    pub(super) stem: String,
    /// Start of the time that it concerns, in Unix nanoseconds.
    pub(super) from: u64,
    /// End of that time.
    pub(super) to: u64,
}

impl Discrepancy {
    /// Returns whether this probably has the cause of another one, as in the files of other topics.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        self.from > 0 && self.from.abs_diff(other.from) < NEAR
    }

    /// Returns one that has no time.
    pub(super) fn of_lines(stem: &str, text: String) -> Self {
        Self { text, stem: stem.to_owned(), from: 0, to: 0 }
    }
}

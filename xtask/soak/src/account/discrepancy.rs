//! A place at which the account of the recorder is not true.

/// What is wrong, and where.
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
    /// Returns one that has no time.
    pub(super) fn of_lines(stem: &str, text: String) -> Self {
        Self { text, stem: stem.to_owned(), from: 0, to: 0 }
    }
}

//! One row of the table of causes.

/// The gaps of one cause.
#[derive(Debug, Default)]
pub(super) struct CauseTotal {
    pub(super) gaps: u64,
    /// Seconds that the gaps tell.
    pub(super) told: f64,
    /// Seconds of missing ticks in them.
    pub(super) missing: f64,
    /// The most seconds that one gap tells beyond what is missing in it.
    pub(super) greatest_excess: f64,
}

impl CauseTotal {
    /// Adds a gap.
    pub(super) fn add(&mut self, told: f64, missing: f64) {
        self.merge(&Self { gaps: 1, told, missing, greatest_excess: told - missing });
    }

    /// Adds the gaps of another row.
    pub(super) fn merge(&mut self, other: &Self) {
        self.gaps += other.gaps;
        self.told += other.told;
        self.missing += other.missing;
        self.greatest_excess = self.greatest_excess.max(other.greatest_excess);
    }
}

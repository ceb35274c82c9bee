//! The options of `cargo xtask soak --account`.

use std::path::PathBuf;

/// The choice of scenarios, and the time for which they run.
#[derive(Debug, Clone)]
pub(crate) struct AccountArgs {
    pub(crate) binary: PathBuf,
    /// The first seed.
    pub(crate) seed: u64,
    /// The number of seeds.
    pub(crate) seeds: u64,
    /// Seconds over all seeds.
    pub(crate) seconds: u64,
    /// Number of scenarios at a time.
    pub(crate) parallel: usize,
    /// The only scenario to run, of each seed.
    pub(crate) scenario: Option<usize>,
}

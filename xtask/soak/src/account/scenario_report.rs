//! The outcome of a scenario.

use std::time::Duration;

use super::comparison::Comparison;
use super::fault_log::FaultLog;
use super::run_clocks::RunClocks;

/// The findings of a scenario, and the acts in it.
#[derive(Debug)]
pub(super) struct ScenarioReport {
    pub(super) comparison: Comparison,
    pub(super) log: FaultLog,
    pub(super) clocks: RunClocks,
    /// The longest time by which the server was late with a tick.
    pub(super) lateness: Duration,
}

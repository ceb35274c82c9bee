//! The status line that appears in the log at an interval.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use crate::metrics::ProcessStats;

/// Logs the status line once per `interval`, as a warning while something is wrong. Never returns.
pub(super) async fn log_status_periodically(interval: Duration, stats: Arc<ProcessStats>) {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = stats.snapshot();
        let dropped = snapshot.total.dropped;
        let connected = snapshot.total.connected;
        let line = snapshot.to_single_line();
        match &snapshot.total.stall {
            None if snapshot.has_trouble() => warn!(dropped, connected, "{line}"),
            None => info!(dropped, connected, "{line}"),
            Some(stall) => {
                let stalled_seconds = stall.seconds;
                warn!(dropped, connected, stalled_seconds, error = %stall.error, "{line}");
            }
        }
    }
}

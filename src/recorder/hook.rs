//! The program that is told of alerts (`on_event`).
//!
//! The recording is looked at once a second, on the network thread; the program runs beside it, on a
//! thread of its own that it alone can hold up.

mod alert_line;
mod alert_tracker;
mod hook_program;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::alert_line::{AlertLine, AlertState};
use self::alert_tracker::AlertTracker;
use self::hook_program::run_program;
pub(super) use self::hook_program::{HookEnd, HookProgram};
use crate::base::secrets::Secrets;
use crate::base::time::{Clock, SystemClock};
use crate::config::OnEventConfig;
use crate::metrics::{Alert, ProcessStats};
use crate::plugin::BoxError;

/// Interval between two looks at the recording.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the program of what a command has found, and waits for it.
///
/// # Errors
/// The program fails.
pub(crate) fn tell_findings(config: &OnEventConfig, findings: Vec<Alert>) -> Result<(), BoxError> {
    let time = SystemClock.now();
    let lines = findings.into_iter().map(|Alert { subject, detail }| AlertLine {
        time,
        subject,
        state: AlertState::Firing,
        since: time,
        seconds: 0,
        detail,
    });
    let lines: String = lines.map(|line| line.to_json() + "\n").collect();
    run_program(config, &lines)
}

/// Tells the program of alerts until `stop` is canceled.
pub(super) async fn report_alerts(
    config: OnEventConfig,
    stats: Arc<ProcessStats>,
    program: HookProgram,
    secrets: Secrets,
    stop: CancellationToken,
) {
    let mut tracker = AlertTracker::new(config.after.to_duration());
    let mut checks = interval(CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(now) = stop.run_until_cancelled(checks.tick()).await {
        let mut alerts = Alert::all_in(&stats.snapshot());
        alerts.retain(|alert| config.events.contains(&alert.subject.kind));
        for line in tracker.update(now, SystemClock.now(), alerts) {
            program.send(secrets.mask(&line.to_json()));
        }
    }
}

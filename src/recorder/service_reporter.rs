//! What the service manager is told while the recording runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::service_manager::{Notification, ServiceManager};
use crate::base::secrets::Secrets;
use crate::metrics::ProcessStats;

/// Interval between two looks at the recording.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// Time after which the start is over although no server has answered yet.
const MAX_START_TIME: Duration = Duration::from_secs(10);
/// Number of signs of life within the time of the watchdog.
const SIGNS_OF_LIFE: u32 = 4;

/// Tells the service manager about the recording. Runs on the network thread: when that thread
/// hangs, nothing is told.
pub(super) struct ServiceReporter {
    manager: Arc<ServiceManager>,
    stats: Arc<ProcessStats>,
    /// Texts that the status must not show.
    secrets: Secrets,
    started: Instant,
    is_ready: bool,
    status_due: Instant,
    sign_of_life_due: Instant,
    /// Pipelines whose threads hang, for the log.
    hanging: Vec<String>,
}

impl ServiceReporter {
    pub(super) fn new(
        manager: Arc<ServiceManager>,
        stats: Arc<ProcessStats>,
        secrets: Secrets,
    ) -> Self {
        let now = Instant::now();
        Self {
            manager,
            stats,
            secrets,
            started: now,
            is_ready: false,
            status_due: now,
            sign_of_life_due: now,
            hanging: Vec::new(),
        }
    }

    /// Tells the service manager about the recording until the task is dropped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut checks = interval(self.check_interval());
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(checks.tick()).await.is_some() {
            self.check();
        }
        self.manager.send(Notification::Stopping);
        // A stop has a time limit of its own, within which files are closed and programs end.
        loop {
            self.manager.send(Notification::Watchdog);
            checks.tick().await;
        }
    }

    fn check_interval(&self) -> Duration {
        self.sign_of_life_interval().map_or(CHECK_INTERVAL, |interval| interval.min(CHECK_INTERVAL))
    }

    fn sign_of_life_interval(&self) -> Option<Duration> {
        self.manager.watchdog().map(|watchdog| watchdog / SIGNS_OF_LIFE)
    }

    fn check(&mut self) {
        let now = Instant::now();
        if self.is_ready {
            self.manager.resend_ready();
        } else if self.stats.has_tried_to_connect() || now - self.started >= MAX_START_TIME {
            self.is_ready = true;
            self.manager.send_ready();
            self.status_due = now;
        }
        if self.is_ready && now >= self.status_due {
            let status = self.secrets.mask(&self.stats.snapshot().to_single_line());
            self.manager.send(Notification::Status(&status));
            self.status_due = now + STATUS_INTERVAL;
        }
        if let Some(interval) = self.sign_of_life_interval()
            && now >= self.sign_of_life_due
        {
            self.send_sign_of_life();
            self.sign_of_life_due = now + interval;
        }
    }

    /// Feeds the watchdog, unless the thread of a pipeline has made no progress since the last time.
    fn send_sign_of_life(&mut self) {
        let hanging = self.stats.take_hanging_pipelines();
        if hanging.is_empty() {
            self.manager.send(Notification::Watchdog);
        }
        if !hanging.is_empty() && self.hanging.is_empty() {
            let pipelines = hanging.join(", ");
            error!(
                pipelines,
                "the thread of a pipeline makes no progress; unless it does, the watchdog of the service manager restarts the recorder"
            );
        } else if hanging.is_empty() && !self.hanging.is_empty() {
            let pipelines = self.hanging.join(", ");
            info!(pipelines, "the thread of the pipeline makes progress again");
        }
        self.hanging = hanging;
    }
}

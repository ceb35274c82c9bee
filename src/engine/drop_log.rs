//! Log lines about dropped messages, limited in rate.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// Minimum time between two log lines about dropped messages.
const DROP_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Counts dropped messages and logs them at most once a second.
#[derive(Debug)]
pub(super) struct DropLog {
    /// The text of the log line.
    text: &'static str,
    unlogged_messages: u64,
    logged_at: Option<Instant>,
}

impl DropLog {
    /// Creates a log with nothing to report.
    pub(super) const fn new(text: &'static str) -> Self {
        Self { text, unlogged_messages: 0, logged_at: None }
    }

    /// Adds messages to those that are not logged yet.
    pub(super) fn record(&mut self, messages: u64) {
        self.unlogged_messages += messages;
    }

    /// Logs the messages that are not logged yet, unless the last log line is too recent.
    pub(super) fn log_due(&mut self) {
        if self.logged_at.is_none_or(|at| at.elapsed() >= DROP_LOG_INTERVAL) {
            self.log_now();
        }
    }

    /// Logs the messages that are not logged yet.
    pub(super) fn log_now(&mut self) {
        if self.unlogged_messages > 0 {
            warn!(messages = self.unlogged_messages, "{}", self.text);
            self.unlogged_messages = 0;
            self.logged_at = Some(Instant::now());
        }
    }
}

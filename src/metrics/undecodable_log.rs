//! Log lines about messages that are left out because they are not text, limited in rate.

use tokio::time::Instant;
use tracing::warn;

use crate::base::failure_log::FAILURE_LOG_INTERVAL;

/// Counts messages that are not text, and logs them at most once a minute.
#[derive(Debug, Default)]
pub(super) struct UndecodableLog {
    /// The last reason, with what can be done.
    reason: String,
    unlogged_messages: u64,
    logged_at: Option<Instant>,
    /// Number of messages that were kept when the last line was logged.
    kept_before: u64,
}

impl UndecodableLog {
    /// Adds messages to those that are not logged yet.
    pub(super) fn record(&mut self, messages: u64, reason: &str) {
        self.unlogged_messages += messages;
        reason.clone_into(&mut self.reason);
    }

    /// Returns the last reason.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Logs the messages that are not logged yet, unless the last log line is too recent. `kept` is
    /// the number of messages that were kept so far.
    pub(super) fn log_due(&mut self, kept: u64) {
        if self.logged_at.is_none_or(|at| at.elapsed() >= FAILURE_LOG_INTERVAL) {
            self.log_now(kept);
        }
    }

    /// Logs the messages that are not logged yet.
    pub(super) fn log_now(&mut self, kept: u64) {
        let messages = self.unlogged_messages;
        if messages == 0 {
            return;
        }
        let kept_since = kept - self.kept_before;
        let reason = &self.reason;
        match kept_since {
            0 => warn!(messages, kept = 0, "everything that comes is left out: {reason}"),
            kept if kept < messages => {
                warn!(messages, kept, "most of what comes is left out: {reason}");
            }
            kept => warn!(messages, kept, "messages are left out: {reason}"),
        }
        self.unlogged_messages = 0;
        self.kept_before = kept;
        self.logged_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_a_minute_has_the_messages_since_the_last() {
        let mut log = UndecodableLog::default();
        log.record(1, "no text");
        log.log_due(0);
        assert_eq!(log.unlogged_messages, 0);
        log.record(2, "no text");
        tokio::time::advance(FAILURE_LOG_INTERVAL / 2).await;
        log.record(3, "no text");
        log.log_due(7);
        assert_eq!((log.unlogged_messages, log.kept_before), (5, 0));
        tokio::time::advance(FAILURE_LOG_INTERVAL / 2).await;
        log.log_due(8);
        assert_eq!((log.unlogged_messages, log.kept_before), (0, 8));
    }
}

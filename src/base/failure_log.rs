//! The rate at which failures are logged.

use std::time::Duration;

/// Interval at which a failure that lasts is logged again.
pub(crate) const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);

//! The time limit of a connect.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::plugin::{Disconnect, DownCause};

/// The end of the time that all steps of a connect share.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectDeadline {
    pub(super) at: Instant,
    /// The whole time, `connect_timeout`, for errors.
    pub(super) limit: Duration,
}

impl ConnectDeadline {
    /// Awaits a step of the connect. `step` names it in the error.
    pub(super) async fn bound<F: Future>(
        self,
        step: &str,
        future: F,
    ) -> Result<F::Output, Disconnect> {
        timeout_at(self.at, future).await.map_err(|_| {
            let detail = format!("{step} took more than {:?}", self.limit);
            Disconnect::new(DownCause::ConnectTimeout, detail)
        })
    }
}

//! The way in which a reload is requested.

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::reload_report::ReloadReport;

/// Number of requests that may wait. Reloads are done one at a time.
const MAX_WAITING: usize = 4;

/// A request to reload the configuration.
#[derive(Debug)]
pub(crate) enum ReloadRequest {
    /// SIGHUP came.
    Hangup,
    /// Somebody waits for the report.
    Query(oneshot::Sender<ReloadReport>),
}

/// Requests reloads.
#[derive(Debug, Clone)]
pub(crate) struct ReloadHandle(Sender<ReloadRequest>);

/// Receives the requests, in order.
pub(crate) type ReloadRequests = Receiver<ReloadRequest>;

/// Creates the two ends of the way of requests.
pub(crate) fn reload_channel() -> (ReloadHandle, ReloadRequests) {
    let (sender, receiver) = channel(MAX_WAITING);
    (ReloadHandle(sender), receiver)
}

impl ReloadHandle {
    /// Requests what SIGHUP asks for. If as many requests wait already, they do it.
    pub(crate) fn hang_up(&self) {
        drop(self.0.try_send(ReloadRequest::Hangup));
    }

    /// Requests a reload and waits for its report. Returns `None` if the recorder has ended before.
    pub(crate) async fn reload(&self) -> Option<ReloadReport> {
        let (sender, report) = oneshot::channel();
        self.0.send(ReloadRequest::Query(sender)).await.ok()?;
        report.await.ok()
    }
}

//! A line that the program gets.

use serde_json::json;

use crate::base::time::UnixNanos;
use crate::metrics::{AlertKind, AlertSubject};

/// A line that the program gets: an alert that has lasted long enough, or that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AlertLine {
    pub(super) time: UnixNanos,
    pub(super) subject: AlertSubject,
    pub(super) state: AlertState,
    /// Time at which the alert began.
    pub(super) since: UnixNanos,
    /// Seconds for which the alert has lasted.
    pub(super) seconds: u64,
    pub(super) detail: String,
}

/// The state of an alert that the program is told of, in the words of alert managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AlertState {
    Firing,
    Resolved,
}

impl AlertLine {
    /// Returns the line without its line feed.
    pub(super) fn to_json(&self) -> String {
        let AlertSubject { kind, pipeline, topic } = &self.subject;
        let state = match self.state {
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        };
        let host = rustix::system::uname();
        let kind: &AlertKind = kind;
        json!({
            "time": self.time.to_string(),
            "event": kind,
            "state": state,
            "since": self.since.to_string(),
            "seconds": self.seconds,
            "pipeline": pipeline,
            "topic": topic,
            "detail": self.detail,
            "host": host.nodename().to_string_lossy(),
            "pid": std::process::id(),
        })
        .to_string()
    }
}

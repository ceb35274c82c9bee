//! What status prints.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Archive, LastError, QueueUse, Stall};

/// What `streamer status --json` prints: the state of a recorder at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The recorder's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, RFC 3339.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Messages written: handed to the operating system by every sink.
    pub messages: u64,
    /// Bytes of those messages, each with its line feed.
    pub bytes: u64,
    /// Messages written per minute, over the last 60 s or the uptime, if shorter.
    pub rate_per_minute: f64,
    /// Whether a connection stands.
    pub connected: bool,
    /// For how many seconds it has stood.
    pub connected_seconds: u64,
    /// Connections made so far.
    pub connects: u64,
    /// Connections lost or not made, by cause.
    pub disconnects: BTreeMap<String, u64>,
    /// The last of these.
    pub last_error: Option<LastError>,
    /// Messages taken from the source.
    pub received: u64,
    /// Bytes of those messages, each with its line feed.
    pub received_bytes: u64,
    /// Messages dropped because the queue was full.
    pub dropped: u64,
    /// Binary messages that are not text and were not written.
    pub undecodable: u64,
    /// Messages left out by `control: "skip"`.
    pub control_skipped: u64,
    /// Line feeds within messages that became spaces.
    pub newlines_folded: u64,
    /// Batches on which a stage failed.
    pub stage_errors: u64,
    /// Failed calls of sinks.
    pub sink_errors: u64,
    /// Log lines that could not be written.
    pub log_lines_lost: u64,
    /// Events that could not be written to a journal at once: what is missing in the end is a gap
    /// of kind `unknown`.
    pub journal_errors: u64,
    /// The last of these failures, in the system's words.
    pub last_journal_error: Option<String>,
    /// The sink that cannot write at this moment, if one cannot.
    pub stall: Option<Stall>,
    /// The queue between network and disk.
    pub queue: QueueUse,
    /// The sidecar; `null` when the configuration has no `archive`.
    pub archive: Option<Archive>,
}

/// The status line: `Uptime: 12m34s | Total Msgs: 152340 | Rate: 7260.12 msg/min`.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uptime = Uptime(self.uptime_seconds);
        let (messages, rate) = (self.messages, self.rate_per_minute);
        write!(f, "Uptime: {uptime} | Total Msgs: {messages} | Rate: {rate:.2} msg/min")
    }
}

/// Seconds as `59s`, `12m34s` or `26h0m3s`.
struct Uptime(u64);

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, _) => write!(f, "{minutes}m{seconds}s"),
            _ => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_grows_from_seconds_to_hours() {
        assert_eq!(Uptime(0).to_string(), "0s");
        assert_eq!(Uptime(59).to_string(), "59s");
        assert_eq!(Uptime(60).to_string(), "1m0s");
        assert_eq!(Uptime(26 * 3600 + 3).to_string(), "26h0m3s");
    }
}

//! What status prints.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ArchiveStats, LastDisconnect, PluginSnapshot, QueueUsage, SinkStall, TopicStatus};

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
    /// All pipelines together.
    #[serde(flatten)]
    pub total: PipelineSnapshot,
    /// Log lines that could not be written.
    pub log_lines_lost: u64,
    /// The sidecar; `null` when the configuration has no `archive`.
    pub archive: Option<ArchiveStats>,
    /// Each pipeline by its name; a configuration without `pipelines` has one, `main`.
    #[serde(default)]
    pub pipelines: BTreeMap<String, PipelineSnapshot>,
}

/// The state of a pipeline, or of all together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineSnapshot {
    /// Messages written: handed to the operating system by every required sink.
    pub messages: u64,
    /// Bytes of those messages, each with its line feed.
    pub bytes: u64,
    /// Messages written per minute, over the last 60 s or the uptime, if shorter.
    pub rate_per_minute: f64,
    /// Whether everything is connected: each share of the topics over one connection at least.
    pub connected: bool,
    /// For how many seconds that has been so.
    pub connected_seconds: u64,
    /// Connections that stand.
    #[serde(default)]
    pub connections: u64,
    /// Connections that should.
    #[serde(default)]
    pub connections_wanted: u64,
    /// The topics, and what the server said to them.
    #[serde(default)]
    pub topics: TopicStatus,
    /// Connections made so far.
    pub connects: u64,
    /// Connections that were replaced by another before they ended.
    #[serde(default)]
    pub replaced: u64,
    /// Copies of messages that came over a second connection, and were not written again.
    #[serde(default)]
    pub duplicates: u64,
    /// Messages that only one of several connections brought.
    #[serde(default)]
    pub unpaired: u64,
    /// Connections lost or not made, by cause.
    pub disconnects: BTreeMap<String, u64>,
    /// The last of these.
    pub last_error: Option<LastDisconnect>,
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
    /// Messages on which a stage failed.
    pub stage_errors: u64,
    /// Messages that a stage had when it failed, at most.
    #[serde(default)]
    pub stage_lost: u64,
    /// Messages of topics beyond the number that a pipeline knows.
    #[serde(default)]
    pub beyond_topics: u64,
    /// Failed calls of sinks.
    pub sink_errors: u64,
    /// Events that could not be written to a journal at once: what is missing in the end is a gap
    /// of kind `unknown`.
    pub journal_errors: u64,
    /// The last of these failures, in the system's words.
    pub last_journal_error: Option<String>,
    /// The sink that cannot write at this moment, if one cannot.
    pub stall: Option<SinkStall>,
    /// The queue between network and disk.
    pub queue: QueueUsage,
    /// The stages and sinks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginSnapshot>,
}

impl PipelineSnapshot {
    /// All of them together: sums, the latest error, the longest stall.
    pub(super) fn sum<'a>(all: impl ExactSizeIterator<Item = &'a Self>) -> Self {
        let mut sum = Self { connected: all.len() > 0, ..Self::default() };
        for (index, one) in all.enumerate() {
            sum.messages += one.messages;
            sum.bytes += one.bytes;
            sum.rate_per_minute += one.rate_per_minute;
            sum.connected &= one.connected;
            let shorter = sum.connected_seconds.min(one.connected_seconds);
            sum.connected_seconds = if index == 0 { one.connected_seconds } else { shorter };
            sum.connections += one.connections;
            sum.connections_wanted += one.connections_wanted;
            sum.topics.add(&one.topics);
            sum.connects += one.connects;
            sum.replaced += one.replaced;
            sum.duplicates += one.duplicates;
            sum.unpaired += one.unpaired;
            for (cause, count) in &one.disconnects {
                *sum.disconnects.entry(cause.clone()).or_default() += count;
            }
            let latest = [&sum.last_error, &one.last_error].into_iter().flatten();
            sum.last_error = latest.max_by_key(|error| &error.at).cloned();
            sum.received += one.received;
            sum.received_bytes += one.received_bytes;
            sum.dropped += one.dropped;
            sum.undecodable += one.undecodable;
            sum.control_skipped += one.control_skipped;
            sum.newlines_folded += one.newlines_folded;
            sum.stage_errors += one.stage_errors;
            sum.beyond_topics += one.beyond_topics;
            sum.stage_lost += one.stage_lost;
            sum.sink_errors += one.sink_errors;
            sum.journal_errors += one.journal_errors;
            sum.last_journal_error =
                sum.last_journal_error.or_else(|| one.last_journal_error.clone());
            let longest = [&sum.stall, &one.stall].into_iter().flatten();
            sum.stall = longest.max_by_key(|stall| stall.seconds).cloned();
            sum.queue.messages += one.queue.messages;
            sum.queue.bytes += one.queue.bytes;
        }
        sum
    }
}

/// The status line: `Uptime: 12m34s | Total Msgs: 152340 | Rate: 7260.12 msg/min`.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uptime = Uptime(self.uptime_seconds);
        let (messages, rate) = (self.total.messages, self.total.rate_per_minute);
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

//! The snapshot of all counters that `streamer status` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::activity::LastMessages;
use super::archive_stats::ArchiveStats;
use super::config_status::ConfigStatus;
use super::connection_status::ConnectionStatus;
use super::health::Health;
use super::last_disconnect::LastDisconnect;
use super::outage::Outage;
use super::plugin_stats::PluginSnapshot;
use super::queue_usage::QueueUsage;
use super::short_time::ShortTime;
use super::sink_stall::SinkStall;
use super::topic_report::TopicReport;
use super::topic_status::TopicStatus;

/// Time from which on a topic that is not confirmed, or the first connect, is worth a word.
const PATIENCE_SECONDS: u64 = 30;

/// The state of a recorder at one moment, as `streamer status --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of the recorder.
    pub version: String,
    /// Process id of the recorder.
    pub pid: u32,
    /// Time at which the recorder started, RFC 3339.
    pub started: String,
    /// Seconds since the recorder started.
    pub uptime_seconds: u64,
    /// Sums over all pipelines.
    #[serde(flatten)]
    pub total: PipelineSnapshot,
    /// Log lines that could not be written.
    pub log_lines_lost: u64,
    /// Work of the sidecar; `null` if the configuration has no `archive`.
    pub archive: Option<ArchiveStats>,
    /// The configuration that runs.
    #[serde(default)]
    pub config: Option<ConfigStatus>,
    /// State of each pipeline, by name. A configuration without `pipelines` has one, `main`.
    #[serde(default)]
    pub pipelines: BTreeMap<String, PipelineSnapshot>,
}

/// The state of one pipeline, or the sum over all pipelines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineSnapshot {
    /// The worst that is true of the pipeline.
    #[serde(default)]
    pub state: Health,
    /// Times of the last messages.
    #[serde(flatten)]
    pub activity: LastMessages,
    /// Seconds without data, if that is far longer than usual.
    #[serde(default)]
    pub silent_seconds: Option<u64>,
    /// Time without a connection; `null` if every topic has one.
    #[serde(default)]
    pub outage: Option<Outage>,
    /// Control messages that came: answers, pongs, heartbeats.
    #[serde(default)]
    pub control: u64,
    /// Messages written: handed to the operating system by every required sink.
    pub messages: u64,
    /// Bytes of those messages, each with its line feed.
    pub bytes: u64,
    /// Messages of data written per minute, over the last 60 s or over the uptime if that is shorter.
    pub rate_per_minute: f64,
    /// True if each shard of the topics has at least one live connection.
    pub connected: bool,
    /// Seconds for which `connected` has been true.
    pub connected_seconds: u64,
    /// Live connections.
    #[serde(default)]
    pub connections: u64,
    /// Connections that should be live.
    #[serde(default)]
    pub connections_wanted: u64,
    /// Topics, by the server's reply to their subscriptions.
    #[serde(default)]
    pub topics: TopicStatus,
    /// Connections made so far.
    pub connects: u64,
    /// Connections that were replaced before they ended.
    #[serde(default)]
    pub replaced: u64,
    /// Copies of messages that a further connection delivered, and that were not written again.
    #[serde(default)]
    pub duplicates: u64,
    /// Messages that only one of several connections delivered.
    #[serde(default)]
    pub unpaired: u64,
    /// Connections that were lost or could not be made, by cause.
    pub disconnects: BTreeMap<String, u64>,
    /// Last connection that was lost or could not be made.
    pub last_error: Option<LastDisconnect>,
    /// Messages taken from sources.
    pub received: u64,
    /// Bytes of those messages, each with its line feed.
    pub received_bytes: u64,
    /// Messages that did not fit into the queue.
    pub dropped: u64,
    /// Binary messages that are not text after decoding, and so were not written.
    pub undecodable: u64,
    /// What is wrong with the feed, if more messages of the last minute were left out than kept,
    /// because they are not text; else `null`.
    #[serde(default)]
    pub feed_warning: Option<String>,
    /// Messages left out by `control: "skip"`.
    pub control_skipped: u64,
    /// Line feeds within messages that were replaced by spaces.
    pub newlines_folded: u64,
    /// Messages on which a stage failed.
    pub stage_errors: u64,
    /// Messages that a stage held when it failed, at most.
    #[serde(default)]
    pub stage_lost: u64,
    /// Messages of topics beyond the number that a pipeline distinguishes.
    #[serde(default)]
    pub beyond_topics: u64,
    /// Failed calls of sinks.
    pub sink_errors: u64,
    /// Failed writes and syncs of journals. The events are written later; a gap of kind `unknown`
    /// shows those that are lost.
    pub journal_errors: u64,
    /// Error of the last failure of a journal.
    pub last_journal_error: Option<String>,
    /// Sink that cannot write at this moment; `null` if all can.
    pub stall: Option<SinkStall>,
    /// Fill level of the queue between network and disk.
    pub queue: QueueUsage,
    /// Counters of the stages and sinks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginSnapshot>,
    /// State of each connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connection_states: Vec<ConnectionStatus>,
    /// State of each topic, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topic_states: BTreeMap<String, TopicReport>,
}

impl Snapshot {
    /// Returns the status line with the lines of the pipelines behind it.
    pub(crate) fn to_single_line(&self) -> String {
        self.to_string().replace("\n  ", " | ")
    }

    /// Returns whether something is wrong that the status line tells.
    pub(crate) fn has_trouble(&self) -> bool {
        self.pipelines.values().any(|pipeline| !pipeline.reasons().is_empty())
            || self.archive.as_ref().is_some_and(|archive| archive.is_failing)
    }
}

impl PipelineSnapshot {
    /// Returns what is wrong with the pipeline, each in a few words.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        reasons.extend(self.outage_reason());
        if let Some(stall) = &self.stall {
            let seconds = ShortTime(stall.seconds);
            let is_full = stall.error.contains("No space left on device");
            let full = if is_full { "disk full: " } else { "" };
            reasons.push(format!("STALLED {seconds}: {full}{}", stall.error));
        }
        let topics = &self.topics;
        let wanted = topics.wanted;
        if topics.refused > 0 {
            reasons.push(format!("{} of {wanted} topics refused", topics.refused));
        }
        let unconfirmed = wanted - topics.confirmed - topics.refused;
        if unconfirmed > 0 && self.connected_seconds >= PATIENCE_SECONDS {
            reasons.push(format!("{unconfirmed} of {wanted} topics unconfirmed"));
        }
        if let Some(silent) = self.silent_seconds {
            reasons.push(format!("no data for {}", ShortTime(silent)));
        } else if topics.silent > 0 {
            reasons.push(format!("{} of {wanted} topics silent", topics.silent));
        }
        reasons.extend(self.feed_warning.as_ref().map(|warning| format!("Warning: {warning}")));
        reasons
    }

    fn outage_reason(&self) -> Option<String> {
        let outage = self.outage.as_ref()?;
        // The first connect is under way.
        let cause = match &outage.cause {
            Some(cause) => format!(": {cause}"),
            None if outage.seconds < PATIENCE_SECONDS => return None,
            None => String::new(),
        };
        let parts = if outage.parts < outage.of_parts {
            format!(" ({} of {} connections)", outage.parts, outage.of_parts)
        } else {
            String::new()
        };
        let next = outage.next_connect_seconds.map(|next| format!(" (next try in {next}s)"));
        let seconds = ShortTime(outage.seconds);
        let next = next.unwrap_or_default();
        Some(format!("DISCONNECTED for {seconds}{parts}{cause}{next}"))
    }

    /// Returns the sums over these pipelines, with the latest error and the longest stall.
    pub(super) fn sum<'a>(all: impl ExactSizeIterator<Item = &'a Self>) -> Self {
        let mut sum = Self { connected: all.len() > 0, ..Self::default() };
        for (index, one) in all.enumerate() {
            sum.state = sum.state.max(one.state);
            sum.activity.keep_later(&one.activity);
            sum.silent_seconds = sum.silent_seconds.max(one.silent_seconds);
            let outages = [&sum.outage, &one.outage].into_iter().flatten();
            sum.outage = outages.max_by_key(|outage| outage.seconds).cloned();
            sum.control += one.control;
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
            sum.feed_warning = sum.feed_warning.or_else(|| one.feed_warning.clone());
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

//! The counters of a running recorder, and the snapshot that status prints.
//!
//! Every pipeline has a [`Stats`] of its own, and every plugin in it a [`PluginStats`]; [`Totals`] is
//! what the process has once.

mod archive;
mod plugin;
mod process;
mod snapshot;
mod topic_status;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::error;

pub use self::archive::ArchiveStats;
pub use self::plugin::{PluginSnapshot, PluginStats};
pub use self::process::ProcessStats;
pub use self::snapshot::{PipelineSnapshot, Snapshot};
use self::topic_status::ConnectionReplies;
pub(crate) use self::topic_status::SubscriptionReply;
pub use self::topic_status::TopicStatus;
use crate::archive::disk::FileError;
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;
use crate::plugin::Disconnect;

/// The rate is taken over this many seconds, or over the uptime where that is shorter.
const RATE_WINDOW: usize = 60;
/// What goes on failing is told of this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        // Relaxed: counters are read one by one and order nothing.
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one pipeline. Written once per batch, read by the status.
#[derive(Debug)]
pub struct PipelineStats {
    /// Messages taken from sources.
    pub received: Counter,
    /// Bytes of those messages, each with its line feed.
    pub received_bytes: Counter,
    /// Messages that every required sink has handed to the operating system.
    pub written: Counter,
    /// Bytes of those messages.
    pub written_bytes: Counter,
    /// Messages that did not fit into the queue (`overflow: "drop_newest"`).
    pub dropped: Counter,
    /// Binary messages that are not text after decoding, and so were not written.
    pub undecodable: Counter,
    /// Messages left out by `control: "skip"`.
    pub control_skipped: Counter,
    /// Line feeds within messages that became spaces.
    pub newlines_folded: Counter,
    /// Messages on which a stage failed, and which went on unchanged or were set aside.
    pub stage_errors: Counter,
    /// Messages that a stage had when it failed, at most.
    pub stage_lost: Counter,
    /// How many of these the journals were told of.
    stage_lost_reported: Counter,
    /// When the first of those that are not yet told was received, Unix nanoseconds.
    stage_lost_since: AtomicU64,
    /// Messages of topics beyond the number that a pipeline knows.
    pub beyond_topics: Counter,
    /// Failed calls of sinks; a failed write is tried again.
    pub sink_errors: Counter,
    /// Events that could not be written to a journal at once.
    pub journal_errors: Counter,
    /// Connections made.
    pub connects: Counter,
    /// Connections that were replaced before they ended.
    pub replaced: Counter,
    /// Messages that came over several connections, less one each.
    pub duplicates: Counter,
    /// Messages that only one of several connections brought.
    pub unpaired: Counter,
    started: Instant,
    inner: Mutex<PipelineStatsInner>,
}

impl Default for PipelineStats {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct PipelineStatsInner {
    /// The shares of the topics, each with its connections.
    shards: BTreeMap<usize, ShardState>,
    /// What servers said to the topics, by shares.
    topic_replies: BTreeMap<usize, Vec<ConnectionReplies>>,
    disconnects: BTreeMap<String, u64>,
    last_error: Option<LastDisconnect>,
    stall: Option<(String, String, Instant)>,
    /// What last went wrong with a journal, and when the log was told of one.
    journal_error: Option<(String, Instant)>,
    queue_usage: QueueUsage,
    plugins: Vec<Arc<PluginStats>>,
    /// `written`, second by second, newest last; at most `RATE_WINDOW + 1` entries.
    written_samples: VecDeque<(Instant, u64)>,
}

/// The connections of a share of the topics.
#[derive(Debug, Default)]
struct ShardState {
    expected: usize,
    live: usize,
    /// Since when there is always one that stands.
    connected_since: Option<Instant>,
}

/// How full the queue between network and disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueUsage {
    /// Messages in it, with those being written.
    pub messages: u64,
    /// Memory that they take.
    pub bytes: u64,
}

/// The last thing that went wrong with a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDisconnect {
    /// The kind of cause, as counted under `disconnects`.
    pub cause: String,
    /// The particulars, with the server's own words where it gave some.
    pub detail: String,
    /// When, RFC 3339.
    pub at: String,
}

/// A write that fails and is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStall {
    /// Which sink, as `sinks[0] (jsonl)`.
    pub sink: String,
    /// Why, in the system's words.
    pub error: String,
    /// For how many seconds it has failed.
    pub seconds: u64,
}

impl PipelineStats {
    /// Counters at zero, for a pipeline that starts now.
    pub fn new() -> Self {
        Self {
            received: Counter::default(),
            received_bytes: Counter::default(),
            written: Counter::default(),
            written_bytes: Counter::default(),
            dropped: Counter::default(),
            undecodable: Counter::default(),
            control_skipped: Counter::default(),
            newlines_folded: Counter::default(),
            stage_errors: Counter::default(),
            stage_lost: Counter::default(),
            stage_lost_reported: Counter::default(),
            stage_lost_since: AtomicU64::new(u64::MAX),
            beyond_topics: Counter::default(),
            sink_errors: Counter::default(),
            journal_errors: Counter::default(),
            connects: Counter::default(),
            replaced: Counter::default(),
            duplicates: Counter::default(),
            unpaired: Counter::default(),
            started: Instant::now(),
            inner: Mutex::default(),
        }
    }

    /// Counters for a plugin of the pipeline, known by this name, such as `stages[0] (filter)`.
    pub(crate) fn register_plugin(&self, name: &str) -> Arc<PluginStats> {
        let plugin = Arc::new(PluginStats::new(name));
        self.lock_inner().plugins.push(Arc::clone(&plugin));
        plugin
    }

    /// A share of the topics is to have so many connections.
    pub(crate) fn set_expected_connections(&self, feed: usize, wanted: usize) {
        self.lock_inner().shards.entry(feed).or_default().expected = wanted;
    }

    /// So many connections of a share stand.
    pub(crate) fn set_live_connections(&self, feed: usize, standing: usize) {
        let mut state = self.lock_inner();
        let feed = state.shards.entry(feed).or_default();
        feed.live = standing;
        feed.connected_since =
            if standing > 0 { feed.connected_since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// A connection was lost or could not be made.
    pub(crate) fn record_disconnect(&self, disconnect: &Disconnect, now: UnixNanos) {
        let mut state = self.lock_inner();
        *state.disconnects.entry(disconnect.cause.as_str().to_owned()).or_default() += 1;
        state.last_error = Some(LastDisconnect {
            cause: disconnect.cause.as_str().to_owned(),
            detail: disconnect.detail.clone(),
            at: now.to_string(),
        });
    }

    /// What the server of a connection says to the topics of its share.
    pub(crate) fn set_topic_replies(
        &self,
        feed: usize,
        connection: u64,
        topics: impl IntoIterator<Item = (String, SubscriptionReply)>,
    ) {
        let topics = topics.into_iter().collect();
        let mut state = self.lock_inner();
        let said = state.topic_replies.entry(feed).or_default();
        said.retain(|said| said.connection.is_some_and(|other| other != connection));
        said.push(ConnectionReplies { connection: Some(connection), replies: topics });
    }

    /// A connection is gone: only what its server refused is known, until another says more.
    pub(crate) fn clear_topic_confirmations(&self, feed: usize, connection: u64) {
        let mut state = self.lock_inner();
        let all = state.topic_replies.entry(feed).or_default();
        if all.len() > 1 {
            all.retain(|said| said.connection != Some(connection));
        }
        for said in all.iter_mut().filter(|said| said.connection == Some(connection)) {
            said.connection = None;
            for (_, confirmation) in &mut said.replies {
                *confirmation = confirmation.take().filter(Result::is_err);
            }
        }
    }

    /// A stage lost messages, the first of which was received then.
    pub(crate) fn record_stage_loss(&self, messages: u64, since: UnixNanos) {
        let _one_at_a_time = self.lock_inner();
        if messages > 0 {
            self.stage_lost_since.fetch_min(since.nanos(), Ordering::Relaxed);
            self.stage_lost.add(messages);
        }
    }

    /// The messages that stages lost since this was last asked, and since when.
    pub(crate) fn drain_stage_loss(&self) -> (u64, UnixNanos) {
        let _one_at_a_time = self.lock_inner();
        let lost = self.stage_lost.get() - self.stage_lost_reported.get();
        self.stage_lost_reported.add(lost);
        let since = self.stage_lost_since.swap(u64::MAX, Ordering::Relaxed);
        (lost, UnixNanos::new(since))
    }

    /// A sink cannot write; the messages wait.
    pub(crate) fn record_stall(&self, sink: &str, error: String) {
        let mut state = self.lock_inner();
        let same = state.stall.take().filter(|(stalled, ..)| stalled == sink);
        let since = same.map_or_else(Instant::now, |(_, _, since)| since);
        state.stall = Some((sink.to_owned(), error, since));
    }

    /// It can again.
    pub(crate) fn clear_stall(&self, sink: &str) {
        let mut state = self.lock_inner();
        state.stall = state.stall.take().filter(|(stalled, ..)| stalled != sink);
    }

    /// A journal cannot be written. The log is told, but not over and over.
    pub(crate) fn report_journal_error(&self, error: &FileError) {
        self.journal_errors.add(1);
        let words = error_chain(error);
        let mut state = self.lock_inner();
        let told = state.journal_error.take().map(|(_, told)| told);
        let told = told.filter(|told| told.elapsed() < REPORT_INTERVAL);
        if told.is_none() {
            error!(error = %words, "the journal cannot be written; the recording goes on, and the gap shows in `streamer gaps`");
        }
        state.journal_error = Some((words, told.unwrap_or_else(Instant::now)));
    }

    /// Once a second: keeps what the rate and the status need.
    pub(crate) fn record_sample(&self, queue: QueueUsage) {
        let written = self.written.get();
        let mut state = self.lock_inner();
        state.queue_usage = queue;
        if state.written_samples.len() > RATE_WINDOW {
            state.written_samples.pop_front();
        }
        state.written_samples.push_back((Instant::now(), written));
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> PipelineSnapshot {
        let now = Instant::now();
        let uptime = now - self.started;
        let messages = self.written.get();
        let state = self.lock_inner();
        let (since, before) = match state.written_samples.front() {
            Some(&(at, before)) if uptime.as_secs() >= RATE_WINDOW as u64 => (now - at, before),
            _ => (uptime, 0),
        };
        PipelineSnapshot {
            messages,
            bytes: self.written_bytes.get(),
            rate_per_minute: rate_per_minute(messages.saturating_sub(before), since),
            connected: !state.shards.is_empty()
                && state.shards.values().all(|feed| feed.connected_since.is_some()),
            connected_seconds: connected_seconds(&state.shards, now),
            connections: state.shards.values().map(|feed| feed.live as u64).sum(),
            connections_wanted: state.shards.values().map(|feed| feed.expected as u64).sum(),
            topics: TopicStatus::from_replies(state.topic_replies.values().map(Vec::as_slice)),
            connects: self.connects.get(),
            replaced: self.replaced.get(),
            duplicates: self.duplicates.get(),
            unpaired: self.unpaired.get(),
            disconnects: state.disconnects.clone(),
            last_error: state.last_error.clone(),
            received: self.received.get(),
            received_bytes: self.received_bytes.get(),
            dropped: self.dropped.get(),
            undecodable: self.undecodable.get(),
            control_skipped: self.control_skipped.get(),
            newlines_folded: self.newlines_folded.get(),
            stage_errors: self.stage_errors.get(),
            stage_lost: self.stage_lost.get(),
            beyond_topics: self.beyond_topics.get(),
            sink_errors: self.sink_errors.get(),
            journal_errors: self.journal_errors.get(),
            last_journal_error: state.journal_error.as_ref().map(|(error, _)| error.clone()),
            stall: state.stall.as_ref().map(|(sink, error, since)| SinkStall {
                sink: sink.clone(),
                error: error.clone(),
                seconds: (now - *since).as_secs(),
            }),
            queue: state.queue_usage,
            plugins: state.plugins.iter().map(|plugin| plugin.snapshot()).collect(),
        }
    }

    fn lock_inner(&self) -> MutexGuard<'_, PipelineStatsInner> {
        // A panic elsewhere leaves plain numbers behind, which are as good as before.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long all shares have been connected without a break; 0 unless they all are.
fn connected_seconds(feeds: &BTreeMap<usize, ShardState>, now: Instant) -> u64 {
    let seconds =
        feeds.values().map(|feed| feed.connected_since.map_or(0, |since| (now - since).as_secs()));
    seconds.min().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people, two decimals")]
fn rate_per_minute(messages: u64, over: Duration) -> f64 {
    let seconds = over.as_secs_f64();
    if seconds > 0.0 { messages as f64 * 60.0 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_covers_only_the_last_minute() {
        let stats = PipelineStats::new();
        stats.written.add(100_000);
        for _ in 0..200 {
            stats.record_sample(QueueUsage::default());
            tokio::time::advance(Duration::from_secs(1)).await;
            stats.written.add(10);
        }
        let rate = stats.snapshot().rate_per_minute;
        assert!((rate - 600.0).abs() < 11.0, "{rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn rate_covers_the_uptime_when_shorter_than_a_minute() {
        let stats = PipelineStats::new();
        tokio::time::advance(Duration::from_secs(30)).await;
        stats.written.add(100);
        assert!((stats.snapshot().rate_per_minute - 200.0).abs() < 0.01);
    }
}

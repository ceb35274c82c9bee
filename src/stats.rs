//! The counters of a running recorder, and the snapshot that status prints.
//!
//! Every pipeline has a [`Stats`] of its own, and every plugin in it a [`PluginStats`]; [`Totals`] is
//! what the process has once.

mod archive;
mod plugin;
mod snapshot;
mod topics;
mod totals;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::error;

pub use self::archive::Archive;
pub use self::plugin::{PluginSnapshot, PluginStats};
pub use self::snapshot::{PipelineSnapshot, Snapshot};
pub(crate) use self::topics::Confirmation;
use self::topics::Said;
pub use self::topics::Topics;
pub use self::totals::Totals;
use crate::archive::disk::FileError;
use crate::clock::UnixNanos;
use crate::errors::error_chain;
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
pub struct Stats {
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
    stage_lost_told: Counter,
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
    state: Mutex<State>,
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct State {
    /// The shares of the topics, each with its connections.
    feeds: BTreeMap<usize, FeedState>,
    /// What servers said to the topics, by shares.
    topics: BTreeMap<usize, Vec<Said>>,
    disconnects: BTreeMap<String, u64>,
    last_error: Option<LastError>,
    stall: Option<(String, String, Instant)>,
    /// What last went wrong with a journal, and when the log was told of one.
    journal_error: Option<(String, Instant)>,
    queue: QueueUse,
    plugins: Vec<Arc<PluginStats>>,
    /// `written`, second by second, newest last; at most `RATE_WINDOW + 1` entries.
    history: VecDeque<(Instant, u64)>,
}

/// The connections of a share of the topics.
#[derive(Debug, Default)]
struct FeedState {
    wanted: usize,
    standing: usize,
    /// Since when there is always one that stands.
    since: Option<Instant>,
}

/// How full the queue between network and disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueUse {
    /// Messages in it, with those being written.
    pub messages: u64,
    /// Memory that they take.
    pub bytes: u64,
}

/// The last thing that went wrong with a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The kind of cause, as counted under `disconnects`.
    pub cause: String,
    /// The particulars, with the server's own words where it gave some.
    pub detail: String,
    /// When, RFC 3339.
    pub at: String,
}

/// A write that fails and is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Which sink, as `sinks[0] (jsonl)`.
    pub sink: String,
    /// Why, in the system's words.
    pub error: String,
    /// For how many seconds it has failed.
    pub seconds: u64,
}

impl Stats {
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
            stage_lost_told: Counter::default(),
            stage_lost_since: AtomicU64::new(u64::MAX),
            beyond_topics: Counter::default(),
            sink_errors: Counter::default(),
            journal_errors: Counter::default(),
            connects: Counter::default(),
            replaced: Counter::default(),
            duplicates: Counter::default(),
            unpaired: Counter::default(),
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Counters for a plugin of the pipeline, known by this name, such as `stages[0] (filter)`.
    pub(crate) fn plugin(&self, name: &str) -> Arc<PluginStats> {
        let plugin = Arc::new(PluginStats::new(name));
        self.state().plugins.push(Arc::clone(&plugin));
        plugin
    }

    /// A share of the topics is to have so many connections.
    pub(crate) fn expect(&self, feed: usize, wanted: usize) {
        self.state().feeds.entry(feed).or_default().wanted = wanted;
    }

    /// So many connections of a share stand.
    pub(crate) fn set_standing(&self, feed: usize, standing: usize) {
        let mut state = self.state();
        let feed = state.feeds.entry(feed).or_default();
        feed.standing = standing;
        feed.since = if standing > 0 { feed.since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// A connection was lost or could not be made.
    pub(crate) fn disconnected(&self, disconnect: &Disconnect, now: UnixNanos) {
        let mut state = self.state();
        *state.disconnects.entry(disconnect.cause.as_str().to_owned()).or_default() += 1;
        state.last_error = Some(LastError {
            cause: disconnect.cause.as_str().to_owned(),
            detail: disconnect.detail.clone(),
            at: now.to_string(),
        });
    }

    /// What the server of a connection says to the topics of its share.
    pub(crate) fn set_topics(
        &self,
        feed: usize,
        connection: u64,
        topics: impl IntoIterator<Item = (String, Confirmation)>,
    ) {
        let topics = topics.into_iter().collect();
        let mut state = self.state();
        let said = state.topics.entry(feed).or_default();
        said.retain(|said| said.connection.is_some_and(|other| other != connection));
        said.push(Said { connection: Some(connection), topics });
    }

    /// A connection is gone: only what its server refused is known, until another says more.
    pub(crate) fn forget_topics(&self, feed: usize, connection: u64) {
        let mut state = self.state();
        let all = state.topics.entry(feed).or_default();
        if all.len() > 1 {
            all.retain(|said| said.connection != Some(connection));
        }
        for said in all.iter_mut().filter(|said| said.connection == Some(connection)) {
            said.connection = None;
            for (_, confirmation) in &mut said.topics {
                *confirmation = confirmation.take().filter(Result::is_err);
            }
        }
    }

    /// A stage lost messages, the first of which was received then.
    pub(crate) fn lost_in_stage(&self, messages: u64, since: UnixNanos) {
        let _one_at_a_time = self.state();
        if messages > 0 {
            self.stage_lost_since.fetch_min(since.nanos(), Ordering::Relaxed);
            self.stage_lost.add(messages);
        }
    }

    /// The messages that stages lost since this was last asked, and since when.
    pub(crate) fn take_lost_in_stages(&self) -> (u64, UnixNanos) {
        let _one_at_a_time = self.state();
        let lost = self.stage_lost.get() - self.stage_lost_told.get();
        self.stage_lost_told.add(lost);
        let since = self.stage_lost_since.swap(u64::MAX, Ordering::Relaxed);
        (lost, UnixNanos::new(since))
    }

    /// A sink cannot write; the messages wait.
    pub(crate) fn stalled(&self, sink: &str, error: String) {
        let mut state = self.state();
        let same = state.stall.take().filter(|(stalled, ..)| stalled == sink);
        let since = same.map_or_else(Instant::now, |(_, _, since)| since);
        state.stall = Some((sink.to_owned(), error, since));
    }

    /// It can again.
    pub(crate) fn resumed(&self, sink: &str) {
        let mut state = self.state();
        state.stall = state.stall.take().filter(|(stalled, ..)| stalled != sink);
    }

    /// A journal cannot be written. The log is told, but not over and over.
    pub(crate) fn journal_failed(&self, error: &FileError) {
        self.journal_errors.add(1);
        let words = error_chain(error);
        let mut state = self.state();
        let told = state.journal_error.take().map(|(_, told)| told);
        let told = told.filter(|told| told.elapsed() < REPORT_INTERVAL);
        if told.is_none() {
            error!(error = %words, "the journal cannot be written; the recording goes on, and the gap shows in `streamer gaps`");
        }
        state.journal_error = Some((words, told.unwrap_or_else(Instant::now)));
    }

    /// Once a second: keeps what the rate and the status need.
    pub(crate) fn sample(&self, queue: QueueUse) {
        let written = self.written.get();
        let mut state = self.state();
        state.queue = queue;
        if state.history.len() > RATE_WINDOW {
            state.history.pop_front();
        }
        state.history.push_back((Instant::now(), written));
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> PipelineSnapshot {
        let now = Instant::now();
        let uptime = now - self.started;
        let messages = self.written.get();
        let state = self.state();
        let (since, before) = match state.history.front() {
            Some(&(at, before)) if uptime.as_secs() >= RATE_WINDOW as u64 => (now - at, before),
            _ => (uptime, 0),
        };
        PipelineSnapshot {
            messages,
            bytes: self.written_bytes.get(),
            rate_per_minute: rate_per_minute(messages.saturating_sub(before), since),
            connected: !state.feeds.is_empty()
                && state.feeds.values().all(|feed| feed.since.is_some()),
            connected_seconds: connected_seconds(&state.feeds, now),
            connections: state.feeds.values().map(|feed| feed.standing as u64).sum(),
            connections_wanted: state.feeds.values().map(|feed| feed.wanted as u64).sum(),
            topics: Topics::of(state.topics.values().map(Vec::as_slice)),
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
            stall: state.stall.as_ref().map(|(sink, error, since)| Stall {
                sink: sink.clone(),
                error: error.clone(),
                seconds: (now - *since).as_secs(),
            }),
            queue: state.queue,
            plugins: state.plugins.iter().map(|plugin| plugin.snapshot()).collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain numbers behind, which are as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long all shares have been connected without a break; 0 unless they all are.
fn connected_seconds(feeds: &BTreeMap<usize, FeedState>, now: Instant) -> u64 {
    let seconds = feeds.values().map(|feed| feed.since.map_or(0, |since| (now - since).as_secs()));
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
    async fn the_rate_is_of_the_last_minute_only() {
        let stats = Stats::new();
        stats.written.add(100_000);
        for _ in 0..200 {
            stats.sample(QueueUse::default());
            tokio::time::advance(Duration::from_secs(1)).await;
            stats.written.add(10);
        }
        let rate = stats.snapshot().rate_per_minute;
        assert!((rate - 600.0).abs() < 11.0, "{rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_of_a_young_process_is_over_its_uptime() {
        let stats = Stats::new();
        tokio::time::advance(Duration::from_secs(30)).await;
        stats.written.add(100);
        assert!((stats.snapshot().rate_per_minute - 200.0).abs() < 0.01);
    }
}

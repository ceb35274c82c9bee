//! The counters of one pipeline.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use super::activity::{Activity, LastMessages};
use super::connection_status::ConnectionStatus;
use super::counter::Counter;
use super::earliest_time::EarliestTime;
use super::health::Health;
use super::last_disconnect::LastDisconnect;
use super::lock::lock;
use super::outage::Outage;
use super::plugin_stats::PluginStats;
use super::queue_usage::QueueUsage;
use super::silence::SilenceWatch;
use super::sink_stall::SinkStall;
use super::snapshot::PipelineSnapshot;
use super::snapshot_detail::SnapshotDetail;
use super::stage_loss::StageLoss;
use super::subscription_reply::SubscriptionReply;
use super::topic_activity::TopicActivity;
use super::topic_report::TopicReport;
use super::topic_status::{ConnectionReplies, TopicStatus, best_replies};
use super::tracker_id::TrackerId;
use super::undecodable_log::UndecodableLog;
use crate::base::connection_id::ConnectionId;
use crate::base::error_chain::error_chain;
use crate::base::failure_log::FAILURE_LOG_INTERVAL;
use crate::base::heartbeat::Heartbeat;
use crate::base::shard_index::ShardIndex;
use crate::base::time::{Clock, SystemClock, UnixNanos};

/// Number of seconds that the message rate covers. A shorter uptime is covered as a whole.
const RATE_WINDOW_SECONDS: usize = 60;

/// The counters of one pipeline. Tasks add to them once per batch; the status reads them.
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
    /// Messages that a sink gave up, since their file could not be written.
    pub unwritable: Counter,
    /// Binary messages that are not text after decoding, and so were not written.
    pub undecodable: Counter,
    /// Messages left out by `control: "skip"`.
    pub control_skipped: Counter,
    /// Line feeds within messages that were replaced by spaces.
    pub newlines_folded: Counter,
    /// Messages on which a stage failed, and which went on unchanged or were set aside.
    pub stage_errors: Counter,
    /// Messages that a stage held when it failed, at most.
    pub stage_lost: Counter,
    /// Number of lost messages that journals record already.
    stage_lost_reported: Counter,
    /// Time at which the first lost message that no journal records was sent, or earlier.
    stage_lost_since: EarliestTime,
    /// Time at which the first dropped message that no journal records was sent, or earlier.
    pub(crate) dropped_since: EarliestTime,
    /// The same of messages that are not text.
    pub(crate) undecodable_since: EarliestTime,
    /// Messages of topics beyond the number that a pipeline distinguishes.
    pub beyond_topics: Counter,
    /// Failed calls of sinks. A failed write is retried.
    pub sink_errors: Counter,
    /// Failed writes and syncs of journals.
    pub journal_errors: Counter,
    /// Connections made.
    pub connects: Counter,
    /// Connections that were replaced before they ended.
    pub replaced: Counter,
    /// Copies of messages that a further connection delivered.
    pub duplicates: Counter,
    /// Messages that only one of several connections delivered.
    pub unpaired: Counter,
    /// Messages that came, control messages among them, and the times of the last ones.
    pub(crate) activity: Activity,
    /// Progress of the pipeline thread.
    pub(crate) heartbeat: Arc<Heartbeat>,
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
    /// Connections of each shard of the topics.
    shards: BTreeMap<ShardIndex, ShardState>,
    /// Replies of servers to the topics of each shard.
    topic_replies: BTreeMap<ShardIndex, Vec<ConnectionReplies>>,
    disconnects: BTreeMap<String, u64>,
    last_disconnect: Option<LastDisconnect>,
    stall: Option<StallStart>,
    journal_failure: Option<JournalFailure>,
    undecodable_log: UndecodableLog,
    queue_usage: QueueUsage,
    plugins: Vec<Arc<PluginStats>>,
    connections: BTreeMap<ConnectionId, LiveConnectionState>,
    silence: SilenceWatch,
    /// One sample a second, newest last; at most `RATE_WINDOW_SECONDS + 1`.
    samples: VecDeque<CounterSample>,
}

/// The connections of one shard of the topics.
#[derive(Debug, Default)]
struct ShardState {
    expected: usize,
    live: usize,
    /// Time since which at least one connection has been live.
    connected_since: Option<Instant>,
    /// Time since which there has been none, from the start or from the loss of the last one.
    down_since: Option<Instant>,
    /// Time of the next attempt to connect.
    next_connect: Option<Instant>,
    /// Cause of the last connection that was lost or could not be made.
    last_error: Option<String>,
}

/// A live connection.
#[derive(Debug)]
struct LiveConnectionState {
    shard: ShardIndex,
    activity: Arc<Activity>,
}

/// A sink that cannot write, and the time of its first failure.
#[derive(Debug)]
struct StallStart {
    sink: String,
    error: String,
    since: Instant,
}

/// The last failure of a journal, and the time at which a failure was last logged.
#[derive(Debug)]
struct JournalFailure {
    error: String,
    logged_at: Instant,
}

/// The values of some counters at one time.
#[derive(Debug, Clone, Copy)]
struct CounterSample {
    at: Instant,
    written: u64,
    received: u64,
    undecodable: u64,
    control: u64,
}

impl PipelineStats {
    /// Creates counters at zero, for a pipeline that starts now.
    pub fn new() -> Self {
        Self {
            received: Counter::default(),
            received_bytes: Counter::default(),
            written: Counter::default(),
            written_bytes: Counter::default(),
            dropped: Counter::default(),
            unwritable: Counter::default(),
            undecodable: Counter::default(),
            control_skipped: Counter::default(),
            newlines_folded: Counter::default(),
            stage_errors: Counter::default(),
            stage_lost: Counter::default(),
            stage_lost_reported: Counter::default(),
            stage_lost_since: EarliestTime::default(),
            dropped_since: EarliestTime::default(),
            undecodable_since: EarliestTime::default(),
            beyond_topics: Counter::default(),
            sink_errors: Counter::default(),
            journal_errors: Counter::default(),
            connects: Counter::default(),
            replaced: Counter::default(),
            duplicates: Counter::default(),
            unpaired: Counter::default(),
            activity: Activity::default(),
            heartbeat: Arc::default(),
            started: Instant::now(),
            inner: Mutex::default(),
        }
    }

    /// Shows these counters of the stages and sinks, in order.
    pub(crate) fn set_plugins(&self, plugins: Vec<Arc<PluginStats>>) {
        self.lock_inner().plugins = plugins;
    }

    /// Sets the number of connections that a shard should have.
    pub(crate) fn set_expected_connections(&self, shard: ShardIndex, expected: usize) {
        let mut inner = self.lock_inner();
        let shard = inner.shards.entry(shard).or_default();
        shard.expected = expected;
        if shard.live == 0 {
            shard.down_since.get_or_insert_with(Instant::now);
        }
    }

    /// Removes a shard of which no topic is left.
    pub(crate) fn remove_shard(&self, shard: ShardIndex) {
        let mut inner = self.lock_inner();
        inner.shards.remove(&shard);
        inner.topic_replies.remove(&shard);
    }

    /// Sets the number of live connections of a shard.
    pub(crate) fn set_live_connections(&self, shard: ShardIndex, live: usize) {
        let mut inner = self.lock_inner();
        let shard = inner.shards.entry(shard).or_default();
        shard.live = live;
        shard.connected_since =
            if live > 0 { shard.connected_since.or_else(|| Some(Instant::now())) } else { None };
        if live > 0 {
            shard.down_since = None;
            shard.next_connect = None;
            shard.last_error = None;
        } else {
            shard.down_since.get_or_insert_with(Instant::now);
        }
    }

    /// Records when a shard without a connection tries to connect again, and why it has none.
    pub(crate) fn set_next_connect(&self, shard: ShardIndex, at: Instant, lost: &str) {
        let mut inner = self.lock_inner();
        let shard = inner.shards.entry(shard).or_default();
        shard.next_connect = Some(at);
        shard.last_error = Some(lost.to_owned());
    }

    /// Adds a connection of a shard, and returns what its messages are counted in.
    pub(crate) fn add_connection(&self, id: ConnectionId, shard: ShardIndex) -> Arc<Activity> {
        let activity = Arc::<Activity>::default();
        let connection = LiveConnectionState { shard, activity: Arc::clone(&activity) };
        self.lock_inner().connections.insert(id, connection);
        activity
    }

    /// Removes a connection that has ended.
    pub(crate) fn remove_connection(&self, id: ConnectionId) {
        self.lock_inner().connections.remove(&id);
    }

    /// Returns what the written messages of a topic are recorded in.
    pub(crate) fn register_topic(&self, topic: &str) -> Arc<TopicActivity> {
        self.lock_inner().silence.register(topic)
    }

    /// Forgets the messages of a topic that is not wanted any more.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.lock_inner().silence.remove(topic);
    }

    /// Looks whether the pipeline or a topic has become silent, and logs it. Call it once a second.
    pub(crate) fn check_silence(&self) {
        let now = Instant::now();
        let mut inner = self.lock_inner();
        let listening = listening_since(&inner);
        inner.silence.collect(&self.activity, now, SystemClock.now());
        inner.silence.check(now, listening);
    }

    /// Counts a connection that was lost or could not be made.
    pub(crate) fn record_disconnect(&self, cause: &'static str, detail: &str, now: UnixNanos) {
        let mut inner = self.lock_inner();
        *inner.disconnects.entry(cause.to_owned()).or_default() += 1;
        inner.last_disconnect = Some(LastDisconnect {
            cause: cause.to_owned(),
            detail: detail.to_owned(),
            at: now.to_string(),
        });
    }

    /// Returns whether a connection was made, or could not be made.
    pub(crate) fn has_tried_to_connect(&self) -> bool {
        self.connects.get() > 0 || !self.lock_inner().disconnects.is_empty()
    }

    /// Sets the replies of a connection's server to the topics of its shard. The replies of closed
    /// connections of the shard are discarded.
    pub(crate) fn set_topic_replies(
        &self,
        shard: ShardIndex,
        tracker: TrackerId,
        replies: impl IntoIterator<Item = (String, SubscriptionReply)>,
    ) {
        let replies = replies.into_iter().collect();
        let mut inner = self.lock_inner();
        let connections = inner.topic_replies.entry(shard).or_default();
        connections.retain(|other| other.tracker.is_some_and(|other| other != tracker));
        connections.push(ConnectionReplies { tracker: Some(tracker), replies });
    }

    /// Discards the replies of a closed connection. If it was the last one of the shard, its topics
    /// stay listed, with the refusals, until another connection replaces them.
    pub(crate) fn clear_topic_confirmations(&self, shard: ShardIndex, tracker: TrackerId) {
        let mut inner = self.lock_inner();
        // A connection may close before it has any reply.
        let Some(connections) = inner.topic_replies.get_mut(&shard) else { return };
        if connections.len() > 1 {
            connections.retain(|other| other.tracker != Some(tracker));
        }
        for closed in connections.iter_mut().filter(|other| other.tracker == Some(tracker)) {
            closed.tracker = None;
            for (_, reply) in &mut closed.replies {
                if *reply == SubscriptionReply::Confirmed {
                    *reply = SubscriptionReply::Pending;
                }
            }
        }
    }

    /// Counts messages that a stage lost. The first was sent at `since` or later.
    pub(crate) fn record_stage_loss(&self, messages: u64, since: UnixNanos) {
        // The lock makes the counter and the time change together.
        let _guard = self.lock_inner();
        if messages > 0 {
            self.stage_lost_since.record(since);
            self.stage_lost.add(messages);
        }
    }

    /// Returns the messages that stages lost since the last call, if they lost any.
    pub(crate) fn drain_stage_loss(&self) -> Option<StageLoss> {
        let _guard = self.lock_inner();
        let messages = self.stage_lost.get() - self.stage_lost_reported.get();
        self.stage_lost_reported.add(messages);
        let since = self.stage_lost_since.take()?;
        (messages > 0).then_some(StageLoss { messages, since })
    }

    /// Records that a sink cannot write and that its messages wait.
    pub(crate) fn record_stall(&self, sink: &str, error: String) {
        let mut inner = self.lock_inner();
        let since = match &inner.stall {
            Some(stall) if stall.sink == sink => stall.since,
            _ => Instant::now(),
        };
        inner.stall = Some(StallStart { sink: sink.to_owned(), error, since });
    }

    /// Records that a sink can write again.
    pub(crate) fn clear_stall(&self, sink: &str) {
        self.lock_inner().stall.take_if(|stall| stall.sink == sink);
    }

    /// Counts a failure of a journal, and logs it at most once a minute.
    pub(crate) fn report_journal_error(&self, error: &(dyn Error + 'static)) {
        self.journal_errors.add(1);
        let text = error_chain(error);
        let mut inner = self.lock_inner();
        let last_logged = inner.journal_failure.as_ref().map(|failure| failure.logged_at);
        let logged_at = match last_logged {
            Some(logged_at) if logged_at.elapsed() < FAILURE_LOG_INTERVAL => logged_at,
            _ => {
                error!(error = %text, "the journal cannot be written; the recording goes on, and the gap shows in `streamer gaps`");
                Instant::now()
            }
        };
        inner.journal_failure = Some(JournalFailure { error: text, logged_at });
    }

    /// Records the fill level of the queue, and the sample that the message rate needs. Call it once
    /// a second.
    pub(crate) fn record_sample(&self, queue: QueueUsage) {
        let sample = self.counter_sample();
        let mut inner = self.lock_inner();
        inner.queue_usage = queue;
        if inner.samples.len() > RATE_WINDOW_SECONDS {
            inner.samples.pop_front();
        }
        inner.samples.push_back(sample);
    }

    fn counter_sample(&self) -> CounterSample {
        CounterSample {
            at: Instant::now(),
            written: self.written.get(),
            received: self.received.get(),
            undecodable: self.undecodable.get(),
            control: self.activity.control.get(),
        }
    }

    /// Counts messages that are left out because they are not text. `reason` says so in a sentence,
    /// with what can be done; it is logged at most once a minute.
    pub fn report_undecodable(&self, messages: u64, reason: &str) {
        self.undecodable.add(messages);
        self.lock_inner().undecodable_log.record(messages, reason);
    }

    /// Logs messages that were left out because they are not text, if a log line is due.
    pub(crate) fn log_undecodable_due(&self) {
        self.lock_inner().undecodable_log.log_due(self.received.get());
    }

    /// Logs messages that were left out because they are not text, if any are not logged yet.
    pub(crate) fn log_undecodable_now(&self) {
        self.lock_inner().undecodable_log.log_now(self.received.get());
    }

    /// Returns all values at this moment, without those of each connection and each topic.
    pub fn snapshot(&self) -> PipelineSnapshot {
        self.snapshot_with(SnapshotDetail::Pipelines)
    }

    /// Returns all values at this moment.
    pub(crate) fn snapshot_with(&self, detail: SnapshotDetail) -> PipelineSnapshot {
        let current = self.counter_sample();
        let now = current.at;
        let uptime = now - self.started;
        let wall = SystemClock.now();
        let messages = current.written;
        let mut inner = self.lock_inner();
        inner.silence.collect(&self.activity, now, wall);
        let inner = inner;
        let first = match inner.samples.front() {
            Some(sample) if uptime.as_secs() >= RATE_WINDOW_SECONDS as u64 => *sample,
            _ => CounterSample {
                at: self.started,
                written: 0,
                received: 0,
                undecodable: 0,
                control: 0,
            },
        };
        // What is not written yet may have been a control message.
        let control = current.control - first.control;
        let data = messages.saturating_sub(first.written).saturating_sub(control);
        let rate_per_minute = rate_per_minute(data, now - first.at);
        let undecodable = current.undecodable - first.undecodable;
        let kept = current.received - first.received;
        let feed_warning = (undecodable > kept).then(|| {
            let reason = inner.undecodable_log.reason();
            format!("{undecodable} messages left out and {kept} kept in the last minute: {reason}")
        });
        let topics = topic_status(&inner);
        let is_connected = is_connected(&inner);
        let state = state_of(&inner, &topics, is_connected);
        let (connection_states, topic_states) = match detail {
            SnapshotDetail::Pipelines => Default::default(),
            SnapshotDetail::Everything => {
                {
                    let mut topics = topic_states(&inner, state, now, wall);
                    // Without a file for each topic, the data of a single one is all data.
                    if topics.len() == 1
                        && let Some(topic) = topics.values_mut().next()
                    {
                        let last = self.activity.last_data();
                        topic.activity = LastMessages::new(last, last, now, wall);
                    }
                    (connection_states(&inner, now, wall), topics)
                }
            }
        };
        PipelineSnapshot {
            state,
            activity: self.activity.last_messages(now, wall),
            silent_seconds: inner
                .silence
                .is_silent()
                .then(|| silent_seconds(&inner, &self.activity, now)),
            outage: outage(&inner, now),
            control: current.control,
            connection_states,
            topic_states,
            messages,
            bytes: self.written_bytes.get(),
            rate_per_minute,
            connected: is_connected,
            connected_seconds: connected_seconds(&inner.shards, now),
            connections: inner.shards.values().map(|shard| shard.live as u64).sum(),
            connections_wanted: inner.shards.values().map(|shard| shard.expected as u64).sum(),
            topics,
            connects: self.connects.get(),
            replaced: self.replaced.get(),
            duplicates: self.duplicates.get(),
            unpaired: self.unpaired.get(),
            disconnects: inner.disconnects.clone(),
            last_error: inner.last_disconnect.clone(),
            received: self.received.get(),
            received_bytes: self.received_bytes.get(),
            dropped: self.dropped.get() + self.unwritable.get(),
            undecodable: current.undecodable,
            feed_warning,
            control_skipped: self.control_skipped.get(),
            newlines_folded: self.newlines_folded.get(),
            stage_errors: self.stage_errors.get(),
            stage_lost: self.stage_lost.get(),
            beyond_topics: self.beyond_topics.get(),
            sink_errors: self.sink_errors.get(),
            journal_errors: self.journal_errors.get(),
            last_journal_error: inner.journal_failure.as_ref().map(|failure| failure.error.clone()),
            stall: inner.stall.as_ref().map(|stall| SinkStall {
                sink: stall.sink.clone(),
                error: stall.error.clone(),
                seconds: (now - stall.since).as_secs(),
            }),
            queue: inner.queue_usage,
            plugins: inner.plugins.iter().map(|plugin| plugin.snapshot()).collect(),
        }
    }

    fn lock_inner(&self) -> MutexGuard<'_, PipelineStatsInner> {
        lock(&self.inner)
    }
}

/// Returns whether every shard has a connection.
fn is_connected(inner: &PipelineStatsInner) -> bool {
    !inner.shards.is_empty() && inner.shards.values().all(|shard| shard.connected_since.is_some())
}

/// Returns the time since when messages of every topic would have been recorded; `None` if they
/// would not now.
fn listening_since(inner: &PipelineStatsInner) -> Option<Instant> {
    if inner.stall.is_some() || inner.shards.is_empty() {
        return None;
    }
    let since = inner.shards.values().map(|shard| shard.connected_since);
    since.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn silent_seconds(inner: &PipelineStatsInner, activity: &Activity, now: Instant) -> u64 {
    let since = activity.last_data().into_iter().chain(listening_since(inner));
    // The silence began with the last data, also where a connection was made since.
    since.min().map_or(0, |since| now.saturating_duration_since(since).as_secs())
}

/// Returns the replies to the subscriptions, with the topics that are silent.
fn topic_status(inner: &PipelineStatsInner) -> TopicStatus {
    let mut topics = TopicStatus::from_replies(inner.topic_replies.values().map(Vec::as_slice));
    let silent = inner.silence.topics().filter(|(_, feed)| feed.is_silent);
    silent.for_each(|(topic, _)| topics.add_silent(topic));
    topics
}

/// Returns the worst that is true of a pipeline.
fn state_of(inner: &PipelineStatsInner, topics: &TopicStatus, is_connected: bool) -> Health {
    if !is_connected {
        Health::Down
    } else if inner.stall.is_some() {
        Health::Stalled
    } else if topics.refused > 0 {
        Health::Refused
    } else if inner.silence.is_silent() || topics.silent > 0 {
        Health::Silent
    } else if topics.wanted > topics.confirmed + topics.refused {
        Health::Unconfirmed
    } else {
        Health::Up
    }
}

/// Returns the longest outage of a shard, if one is down.
fn outage(inner: &PipelineStatsInner, now: Instant) -> Option<Outage> {
    let down = || inner.shards.values().filter(|shard| shard.connected_since.is_none());
    let longest = down().min_by_key(|shard| shard.down_since)?;
    let next = longest.next_connect.filter(|at| *at > now);
    Some(Outage {
        parts: down().count() as u64,
        of_parts: inner.shards.len() as u64,
        seconds: longest.down_since.map_or(0, |since| (now - since).as_secs()),
        cause: longest.last_error.clone(),
        next_connect_seconds: next.map(|at| (at - now).as_secs()),
    })
}

/// Returns the state of each live connection, and of each shard without one.
fn connection_states(
    inner: &PipelineStatsInner,
    now: Instant,
    wall: UnixNanos,
) -> Vec<ConnectionStatus> {
    let live = inner.connections.iter().map(|(id, connection)| ConnectionStatus {
        connection: Some(id.get()),
        shard: connection.shard.get() as u64,
        state: if inner.silence.is_silent() { Health::Silent } else { Health::Up },
        seconds: (now - connection.activity.began).as_secs(),
        next_connect_seconds: None,
        messages: connection.activity.messages.get(),
        control: connection.activity.control.get(),
        activity: connection.activity.last_messages(now, wall),
    });
    let down = inner.shards.iter().filter(|(_, shard)| shard.connected_since.is_none());
    let down = down.map(|(index, shard)| ConnectionStatus {
        connection: None,
        shard: index.get() as u64,
        state: Health::Down,
        seconds: shard.down_since.map_or(0, |since| (now - since).as_secs()),
        next_connect_seconds: shard.next_connect.map(|at| (at - now).as_secs()),
        messages: 0,
        control: 0,
        activity: LastMessages::default(),
    });
    live.chain(down).collect()
}

/// Returns the state of each topic.
fn topic_states(
    inner: &PipelineStatsInner,
    pipeline: Health,
    now: Instant,
    wall: UnixNanos,
) -> BTreeMap<String, TopicReport> {
    let mut states = BTreeMap::new();
    for (shard, connections) in &inner.topic_replies {
        let is_down = inner.shards.get(shard).is_none_or(|shard| shard.connected_since.is_none());
        for (topic, reply) in best_replies(connections) {
            let feed = inner.silence.topic(topic);
            let last_data = feed.and_then(|feed| feed.last_data);
            let state = if is_down {
                Health::Down
            } else if pipeline == Health::Stalled {
                Health::Stalled
            } else {
                match reply {
                    SubscriptionReply::Refused(_) => Health::Refused,
                    _ if feed.is_some_and(|feed| feed.is_silent) => Health::Silent,
                    SubscriptionReply::Pending => Health::Unconfirmed,
                    SubscriptionReply::Confirmed => Health::Up,
                }
            };
            let activity = LastMessages::new(last_data, last_data, now, wall);
            states.insert(topic.to_owned(), TopicReport { state, activity });
        }
    }
    states
}

/// Returns the seconds for which every shard has been connected; 0 if one is not.
fn connected_seconds(shards: &BTreeMap<ShardIndex, ShardState>, now: Instant) -> u64 {
    let seconds = shards
        .values()
        .map(|shard| shard.connected_since.map_or(0, |since| (now - since).as_secs()));
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

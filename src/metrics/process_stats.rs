//! The counters of the process: its uptime, its pipelines and its sidecar.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::archive_stats::ArchiveStats;
use super::config_status::ConfigStatus;
use super::counter::Counter;
use super::lock::lock;
use super::pipeline_stats::PipelineStats;
use super::snapshot::{PipelineSnapshot, Snapshot};
use super::snapshot_detail::SnapshotDetail;
use crate::archive::job::JobSummary;
use crate::base::time::UnixNanos;

/// The counters of the process, and of every pipeline in it.
#[derive(Debug)]
pub struct ProcessStats {
    /// Log lines that could not be written.
    pub log_lines_lost: Arc<Counter>,
    started: Instant,
    started_at: UnixNanos,
    inner: Mutex<ProcessStatsInner>,
}

#[derive(Debug, Default)]
struct ProcessStatsInner {
    pipelines: BTreeMap<String, Arc<PipelineStats>>,
    /// `None` if the configuration has no `archive`.
    archive: Option<ArchiveStats>,
    config: Option<ConfigStatus>,
}

impl ProcessStats {
    /// Creates counters at zero, for a process that starts now.
    pub fn new(now: UnixNanos) -> Self {
        Self {
            log_lines_lost: Arc::default(),
            started: Instant::now(),
            started_at: now,
            inner: Mutex::default(),
        }
    }

    /// Takes over a counter of log lines, which may have been lost before.
    #[must_use]
    pub(crate) fn with_log_lines_lost(self, log_lines_lost: Arc<Counter>) -> Self {
        Self { log_lines_lost, ..self }
    }

    /// Returns the counters of the pipeline of this name, creating them at zero.
    pub(crate) fn register_pipeline(&self, name: &str) -> Arc<PipelineStats> {
        Arc::clone(self.lock_inner().pipelines.entry(name.to_owned()).or_default())
    }

    /// Shows these counters for the pipeline of this name.
    pub(crate) fn set_pipeline(&self, name: &str, stats: Arc<PipelineStats>) {
        self.lock_inner().pipelines.insert(name.to_owned(), stats);
    }

    /// Removes the counters of a pipeline that has ended for good.
    pub(crate) fn remove_pipeline(&self, name: &str) {
        self.lock_inner().pipelines.remove(name);
    }

    /// Returns whether each pipeline has made a connection, or has failed to.
    pub(crate) fn has_tried_to_connect(&self) -> bool {
        let inner = self.lock_inner();
        !inner.pipelines.is_empty()
            && inner.pipelines.values().all(|stats| stats.has_tried_to_connect())
    }

    /// Returns the names of the pipelines whose threads have made no progress since the last call,
    /// although there is work.
    pub(crate) fn take_hanging_pipelines(&self) -> Vec<String> {
        let inner = self.lock_inner();
        let hanging = inner.pipelines.iter().filter(|(_, stats)| !stats.heartbeat.take_progress());
        hanging.map(|(name, _)| name.clone()).collect()
    }

    /// Records the start of a run of the sidecar.
    pub(crate) fn record_archive_start(&self, now: UnixNanos) {
        self.update_archive(|archive| {
            archive.running = true;
            archive.earlier_failures = archive.failures;
            archive.last_run = Some(now.to_string());
        });
    }

    /// Sets the time of the sidecar's next run.
    pub(crate) fn set_next_archive_run(&self, next: Option<UnixNanos>) {
        self.update_archive(|archive| archive.next_run = next.map(|time| time.to_string()));
    }

    /// Records the end of a run of the sidecar.
    pub(crate) fn record_archive_end(&self, duration: Duration) {
        self.update_archive(|archive| {
            archive.running = false;
            archive.runs += 1;
            archive.is_failing = archive.failures > archive.earlier_failures;
            archive.last_run_seconds = duration.as_secs_f64();
        });
    }

    /// Adds the work of the sidecar in one directory.
    pub(crate) fn add_archive_summary(&self, summary: &JobSummary) {
        self.update_archive(|archive| archive.add_summary(summary));
    }

    /// Counts a failure of the sidecar.
    pub(crate) fn record_archive_failure(&self, error: String) {
        self.update_archive(|archive| {
            archive.failures += 1;
            archive.is_failing = true;
            archive.last_failure = Some(error);
        });
    }

    fn update_archive(&self, update: impl FnOnce(&mut ArchiveStats)) {
        update(self.lock_inner().archive.get_or_insert_default());
    }

    /// Sets what the status shows of the configuration.
    pub(crate) fn set_config(&self, config: ConfigStatus) {
        self.lock_inner().config = Some(config);
    }

    /// Returns what the status shows of the configuration.
    pub(crate) fn config(&self) -> Option<ConfigStatus> {
        self.lock_inner().config.clone()
    }

    /// Returns all values at this moment, without those of each connection and each topic.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_with(SnapshotDetail::Pipelines)
    }

    /// Returns all values at this moment.
    pub(crate) fn snapshot_with(&self, detail: SnapshotDetail) -> Snapshot {
        let inner = self.lock_inner();
        let pipelines = inner.pipelines.iter();
        let pipelines: BTreeMap<_, _> =
            pipelines.map(|(name, stats)| (name.clone(), stats.snapshot_with(detail))).collect();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started_at.to_string(),
            uptime_seconds: self.started.elapsed().as_secs(),
            log_lines_lost: self.log_lines_lost.get(),
            archive: inner.archive.clone(),
            config: inner.config.clone(),
            total: PipelineSnapshot::sum(pipelines.values()),
            pipelines,
        }
    }

    fn lock_inner(&self) -> MutexGuard<'_, ProcessStatsInner> {
        lock(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shard_index::ShardIndex;
    use crate::metrics::PluginStats;

    #[test]
    fn status_line_format_is_stable() {
        let mut snapshot = ProcessStats::new(UnixNanos::default()).snapshot();
        snapshot.uptime_seconds = 754;
        snapshot.total.messages = 152_340;
        snapshot.total.rate_per_minute = 7260.123;
        assert_eq!(
            snapshot.to_string(),
            "Uptime: 12m34s | Total Msgs: 152340 | Rate: 7260.12 msg/min"
        );
    }

    #[test]
    fn the_archive_fails_until_a_run_without_a_failure() {
        let totals = ProcessStats::new(UnixNanos::default());
        let is_failing = || totals.snapshot().archive.unwrap().is_failing;
        totals.record_archive_start(UnixNanos::default());
        assert!(!is_failing());
        totals.record_archive_failure("no space".to_owned());
        totals.record_archive_end(Duration::ZERO);
        assert!(is_failing());
        totals.record_archive_start(UnixNanos::default());
        assert!(is_failing(), "the run is not over");
        totals.record_archive_end(Duration::ZERO);
        assert!(!is_failing());
    }

    #[test]
    fn snapshot_round_trips_through_json_and_sums_pipelines() {
        let totals = ProcessStats::new(UnixNanos::from_seconds(1_700_000_000));
        let a = totals.register_pipeline("a");
        let b = totals.register_pipeline("b");
        a.set_live_connections(ShardIndex::default(), 1);
        a.written.add(2);
        b.set_live_connections(ShardIndex::default(), 1);
        b.written.add(3);
        assert!(totals.snapshot().total.connected);
        b.record_disconnect("idle", "silent", UnixNanos::default());
        b.set_live_connections(ShardIndex::default(), 0);
        let sink = Arc::new(PluginStats::new("sinks[0] (jsonl)"));
        sink.register_counter("reopened").add(1);
        b.set_plugins(vec![sink]);
        let snapshot = totals.snapshot();
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
        assert_eq!(snapshot.total.disconnects.get("idle"), Some(&1));
        assert_eq!(snapshot.total.messages, 5);
        assert!(!snapshot.total.connected, "one of two pipelines is not connected");
        assert!(json.contains(r#""messages":5"#), "the sums are at the top level: {json}");
    }
}

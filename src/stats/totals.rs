//! What the process has once: its age, its pipelines, its sidecar.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Archive, Counter, PipelineSnapshot, Snapshot, Stats};
use crate::archive::job::Summary;
use crate::clock::UnixNanos;

/// The counters of the process, and of every pipeline in it.
#[derive(Debug)]
pub struct Totals {
    /// Log lines that could not be written.
    pub log_lines_lost: Counter,
    started: Instant,
    started_at: UnixNanos,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pipelines: BTreeMap<String, Arc<Stats>>,
    archive: Option<Archive>,
}

impl Totals {
    /// Counters at zero, for a process that starts now.
    pub fn new(now: UnixNanos) -> Self {
        Self {
            log_lines_lost: Counter::default(),
            started: Instant::now(),
            started_at: now,
            state: Mutex::default(),
        }
    }

    /// The counters of the pipeline of this name.
    pub(crate) fn pipeline(&self, name: &str) -> Arc<Stats> {
        Arc::clone(self.state().pipelines.entry(name.to_owned()).or_default())
    }

    /// A run of the archive's job begins.
    pub(crate) fn archive_begins(&self, now: UnixNanos) {
        let mut state = self.state();
        let archive = state.archive.get_or_insert_default();
        archive.running = true;
        archive.last_run = Some(now.to_string());
    }

    /// The next run is due then.
    pub(crate) fn archive_due(&self, next: Option<UnixNanos>) {
        let mut state = self.state();
        state.archive.get_or_insert_default().next_run = next.map(|time| time.to_string());
    }

    /// It ends, after so long.
    pub(crate) fn archive_ends(&self, took: Duration) {
        let mut state = self.state();
        let archive = state.archive.get_or_insert_default();
        archive.running = false;
        archive.runs += 1;
        archive.last_run_seconds = took.as_secs_f64();
    }

    /// What it did in one directory.
    pub(crate) fn archive_did(&self, summary: &Summary) {
        self.state().archive.get_or_insert_default().add(summary);
    }

    /// Something in it failed.
    pub(crate) fn archive_failed(&self, error: String) {
        let mut state = self.state();
        let archive = state.archive.get_or_insert_default();
        archive.failures += 1;
        archive.last_failure = Some(error);
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let pipelines = state.pipelines.iter();
        let pipelines: BTreeMap<_, _> =
            pipelines.map(|(name, stats)| (name.clone(), stats.snapshot())).collect();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started_at.to_string(),
            uptime_seconds: self.started.elapsed().as_secs(),
            log_lines_lost: self.log_lines_lost.get(),
            archive: state.archive.clone(),
            total: PipelineSnapshot::sum(pipelines.values()),
            pipelines,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain numbers behind, which are as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Cause, Disconnect};

    #[test]
    fn the_status_line_is_the_one_that_scripts_know() {
        let mut snapshot = Totals::new(UnixNanos::default()).snapshot();
        snapshot.uptime_seconds = 754;
        snapshot.total.messages = 152_340;
        snapshot.total.rate_per_minute = 7260.123;
        assert_eq!(
            snapshot.to_string(),
            "Uptime: 12m34s | Total Msgs: 152340 | Rate: 7260.12 msg/min"
        );
    }

    #[test]
    fn a_snapshot_survives_json_and_sums_its_pipelines() {
        let totals = Totals::new(UnixNanos::from_seconds(1_700_000_000));
        let (a, b) = (totals.pipeline("a"), totals.pipeline("b"));
        a.set_standing(0, 1);
        a.written.add(2);
        b.set_standing(0, 1);
        b.written.add(3);
        assert!(totals.snapshot().total.connected);
        b.disconnected(&Disconnect::new(Cause::Idle, "silent"), UnixNanos::default());
        b.set_standing(0, 0);
        b.plugin("sinks[0] (jsonl)").counter("reopened").add(1);
        let snapshot = totals.snapshot();
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
        assert_eq!(snapshot.total.disconnects.get("idle"), Some(&1));
        assert_eq!(snapshot.total.messages, 5);
        assert!(!snapshot.total.connected, "one of two is not all of them");
        assert!(json.contains(r#""messages":5"#), "the sums stand at the top: {json}");
    }
}

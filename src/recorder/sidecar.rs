//! The sidecar: a thread that runs the archive's job on a schedule, beside the recording.
//!
//! The thread has the lowest priority for processor and disk. It runs the job once at start, for
//! what earlier runs left behind, and never twice at the same time.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_cron_scheduler::{Job as Timer, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::archive::job::{Job, JobError, JobEvent};
use crate::archive::progress::Progress;
use crate::base::error_chain::error_chain;
use crate::base::time::{Clock, SystemClock};
use crate::config::Schedule;
use crate::metrics::ProcessStats;

/// Lowest priority for the processor, see nice(2).
const NICE: i32 = 19;
/// Interval at which the sidecar checks the clock and the free disk space.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between an early run that removed nothing and the next early run, and between two
/// log entries on a check that fails.
const EARLY_RUN_COOLDOWN: Duration = Duration::from_secs(300);

/// The jobs of a sidecar, one per directory, which may change while it runs.
pub(crate) type SharedJobs = Arc<Mutex<Vec<Job>>>;

/// A running sidecar.
pub(crate) struct Sidecar {
    jobs: SharedJobs,
    stop: CancellationToken,
    progress: Arc<Progress>,
    finished: oneshot::Receiver<()>,
}

impl Sidecar {
    /// Starts the thread, which works until the token is canceled.
    ///
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub(crate) fn start(
        jobs: Vec<Job>,
        schedule: Schedule,
        stats: Arc<ProcessStats>,
        stop: &CancellationToken,
    ) -> std::io::Result<Self> {
        let stop = stop.child_token();
        let progress = Arc::new(Progress::default());
        let (finish, finished) = oneshot::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let worker = ArchiveWorker {
            jobs: Arc::clone(&jobs),
            schedule,
            stats,
            progress: Arc::clone(&progress),
        };
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("sidecar".to_owned()).spawn(move || {
            lower_priority();
            if let Err(error) = runtime.block_on(worker.run_on_schedule(&stopped)) {
                warn!(%error, "the archive's schedule failed: no further run until the next start");
            }
            // The receiver is gone if `stop` has timed out.
            let _gone = finish.send(());
        })?;
        Ok(Self { jobs, stop, progress, finished })
    }

    /// Returns the jobs, which may be changed: the next run has the others.
    pub(crate) fn jobs(&self) -> SharedJobs {
        Arc::clone(&self.jobs)
    }

    /// Returns the progress of the current run, through which the run can be stopped.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Stops the sidecar and waits for its end, but no longer than `timeout` after the first request
    /// to stop. The next run completes what an interrupted one leaves behind.
    pub(crate) async fn stop(self, timeout: Duration) {
        self.stop.cancel();
        let requested_at = self.progress.request_stop();
        let remaining = timeout.saturating_sub(requested_at.elapsed());
        if tokio::time::timeout(remaining, self.finished).await.is_err() {
            warn!("the archive's run did not stop in time; the next run completes it");
        }
    }
}

/// Gives this thread, and the threads that it starts, the lowest priority.
fn lower_priority() {
    if let Err(error) = rustix::process::nice(NICE) {
        warn!(%error, "cannot lower the sidecar's priority for the processor");
    }
    let idle = ioprio::Priority::new(ioprio::Class::Idle);
    let this_thread = ioprio::Target::Process(ioprio::Pid::from_raw(0));
    if let Err(error) = ioprio::set_priority(this_thread, idle) {
        warn!(%error, "cannot lower the sidecar's priority for the disk");
    }
}

/// The work of the sidecar's thread.
struct ArchiveWorker {
    jobs: SharedJobs,
    schedule: Schedule,
    stats: Arc<ProcessStats>,
    progress: Arc<Progress>,
}

impl ArchiveWorker {
    async fn run_on_schedule(&self, stop: &CancellationToken) -> Result<(), JobSchedulerError> {
        let (request, mut requests) = mpsc::channel(1);
        let mut space_monitor = SpaceMonitor::default();
        let mut warnings = RepeatedWarnings::default();
        self.stats.set_next_archive_run(self.schedule.next_after(SystemClock.now()));
        self.run_jobs(&mut warnings);
        while !stop.is_cancelled() {
            let mut scheduler = self.start_scheduler(request.clone()).await?;
            let mut last_seen = SystemClock.now();
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    _ = requests.recv() => {
                        self.run_jobs(&mut warnings);
                    }
                    () = sleep(CHECK_INTERVAL) => {
                        if space_monitor.needs_run(&self.current_jobs()) {
                            info!("less disk space is free than `min_free_disk`: an early run");
                            space_monitor.record_run(self.run_jobs(&mut warnings));
                        }
                    }
                }
                // The scheduler sleeps for a duration that it computed before. After a step back of
                // the clock it would sleep for that much longer.
                let now = SystemClock.now();
                if now < last_seen {
                    info!("the clock stepped back: the archive's schedule starts anew");
                    break;
                }
                last_seen = now;
            }
            scheduler.shutdown().await?;
        }
        Ok(())
    }

    /// Starts a scheduler that requests runs. A scheduler would run its jobs concurrently, so its
    /// only job is to send a request.
    async fn start_scheduler(
        &self,
        request: mpsc::Sender<()>,
    ) -> Result<JobScheduler, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let timer = Timer::new_async(self.schedule.as_str(), move |_, _| {
            let request = request.clone();
            Box::pin(async move {
                // A full channel holds a request already.
                let _full = request.try_send(());
            })
        })?;
        scheduler.add(timer).await?;
        scheduler.start().await?;
        self.stats.set_next_archive_run(self.schedule.next_after(SystemClock.now()));
        Ok(scheduler)
    }

    /// Runs the job once in every directory. Returns the number of removed hours.
    fn run_jobs(&self, warnings: &mut RepeatedWarnings) -> u64 {
        let mut removed = 0;
        let clock = SystemClock;
        self.stats.record_archive_start(clock.now());
        let started = Instant::now();
        for job in &self.current_jobs() {
            // A panic on one archive must not end the sidecar.
            let result = catch_unwind(AssertUnwindSafe(|| {
                job.run(&clock, &self.progress, &mut |event| self.log_event(event, warnings))
            }));
            let Ok(result) = result else {
                let error = "the archive's run panicked, see stderr; the next run retries";
                error!(dir = %job.dir.display(), "{error}");
                self.stats.record_archive_failure(error.to_owned());
                continue;
            };
            match result {
                Ok(summary) => {
                    removed += summary.removed;
                    self.stats.add_archive_summary(&summary);
                }
                Err(JobError::Stopped(_)) => {
                    info!(dir = %job.dir.display(), "archive run stopped; the next run completes it");
                    break;
                }
                Err(error) => {
                    let error = error_chain(&error);
                    warn!(dir = %job.dir.display(), %error, "archive run failed");
                    self.stats.record_archive_failure(error);
                }
            }
        }
        let repeated = warnings.end_run();
        if repeated > 0 {
            info!(repeated, "warnings of the archive's run before last");
        }
        self.stats.record_archive_end(started.elapsed());
        self.stats.set_next_archive_run(self.schedule.next_after(clock.now()));
        removed
    }

    fn current_jobs(&self) -> Vec<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs an event of a run. A warning that the run before had, too, is not repeated.
    fn log_event(&self, event: &JobEvent, warnings: &mut RepeatedWarnings) {
        let text = event.to_string();
        if let JobEvent::Failed { .. } = event {
            self.stats.record_archive_failure(text.clone());
        }
        if !event.is_warning() {
            info!("{text}");
        } else if warnings.record(&text) {
            warn!("{text}");
        }
    }
}

/// The warnings of a run, of which those that last are not logged again.
#[derive(Debug, Default)]
struct RepeatedWarnings {
    previous: HashSet<String>,
    current: HashSet<String>,
    repeated: usize,
}

impl RepeatedWarnings {
    /// Records a warning of the current run. Returns whether the run before did not have it.
    fn record(&mut self, text: &str) -> bool {
        let is_new = !self.previous.contains(text);
        if self.current.insert(text.to_owned()) && !is_new {
            self.repeated += 1;
        }
        is_new
    }

    /// Ends the run. Returns the number of its warnings that were not logged again.
    fn end_run(&mut self) -> usize {
        self.previous = std::mem::take(&mut self.current);
        std::mem::take(&mut self.repeated)
    }
}

/// Decides when too little free disk space requires a run ahead of the schedule.
#[derive(Debug, Default)]
struct SpaceMonitor {
    /// Time of the last early run, if it removed nothing.
    futile_run: Option<Instant>,
    /// Time at which a failed check was last logged.
    failure_logged: Option<Instant>,
}

impl SpaceMonitor {
    /// Returns whether a directory has less free space than its `min_free_disk`, unless the last
    /// early run was futile and recent.
    fn needs_run(&mut self, jobs: &[Job]) -> bool {
        if is_recent(self.futile_run) {
            return false;
        }
        jobs.iter().any(|job| {
            job.is_below_min_free_disk().unwrap_or_else(|error| {
                // The check cannot tell, so that the schedule alone decides.
                if !is_recent(self.failure_logged) {
                    warn!(error = %error_chain(&error), "cannot check `min_free_disk`");
                    self.failure_logged = Some(Instant::now());
                }
                false
            })
        })
    }

    /// Records an early run, which removed this many hours.
    fn record_run(&mut self, removed: u64) {
        self.futile_run = (removed == 0).then(Instant::now);
    }
}

fn is_recent(time: Option<Instant>) -> bool {
    time.is_some_and(|time| time.elapsed() < EARLY_RUN_COOLDOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_not_repeated_from_run_to_run_and_is_when_it_comes_back() {
        let mut warnings = RepeatedWarnings::default();
        let mut run = |texts: &[&str]| {
            let logged = texts.iter().filter(|text| warnings.record(text)).count();
            (logged, warnings.end_run())
        };
        assert_eq!(run(&["a", "b"]), (2, 0));
        assert_eq!(run(&["a", "b", "c"]), (1, 2));
        assert_eq!(run(&[]), (0, 0));
        assert_eq!(run(&["a"]), (1, 0));
    }
}

//! The archive's job on a schedule, beside the recording: a thread of its own at the lowest
//! priority for processor and disk. One run at a time, and one at start for what was left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
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

/// The lowest priority of the processor (nice(2)).
const NICE: i32 = 19;

/// A sidecar that runs.
pub(crate) struct Sidecar {
    stop: CancellationToken,
    progress: Arc<Progress>,
    finished: oneshot::Receiver<()>,
}

impl Sidecar {
    /// Starts the thread: one run now, then one whenever the schedule says so, until the token is
    /// cancelled.
    pub(crate) fn start(
        jobs: Vec<Job>,
        schedule: Schedule,
        stats: Arc<ProcessStats>,
        stop: &CancellationToken,
    ) -> std::io::Result<Self> {
        let (stop, progress) = (stop.child_token(), Arc::new(Progress::default()));
        let (tell, ended) = oneshot::channel();
        let worker = ArchiveWorker { jobs, schedule, stats, progress: Arc::clone(&progress) };
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("sidecar".to_owned()).spawn(move || {
            lower_priority();
            if let Err(error) = runtime.block_on(worker.run_on_schedule(&stopped)) {
                warn!(%error, "the archive's schedule failed: no further run until the next start");
            }
            // Whoever waits for this may be gone.
            let _gone = tell.send(());
        })?;
        Ok(Self { stop, progress, finished: ended })
    }

    /// Where a run that is under way is told to stop at its next safe point.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Stops, and waits for the end, but no longer than this since it was first told to. What a run
    /// leaves behind when the process ends under it, the next one takes up.
    pub(crate) async fn stop(self, patience: Duration) {
        self.stop.cancel();
        self.progress.request_stop();
        let since =
            self.progress.stop_requested_at().map_or(Duration::ZERO, |since| since.elapsed());
        let patience = patience.saturating_sub(since);
        if tokio::time::timeout(patience, self.finished).await.is_err() {
            warn!("the archive's run did not stop in time; the next one takes it up");
        }
    }
}

/// Threads that this one starts inherit it.
fn lower_priority() {
    if let Err(error) = rustix::process::nice(NICE) {
        warn!(%error, "cannot lower the sidecar's priority");
    }
    let idle = ioprio::Priority::new(ioprio::Class::Idle);
    let this_thread = ioprio::Target::Process(ioprio::Pid::from_raw(0));
    if let Err(error) = ioprio::set_priority(this_thread, idle) {
        warn!(%error, "cannot lower the sidecar's priority for the disk");
    }
}

/// How often the clock is looked at, and the free disk.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// A run for the sake of the free disk that has removed nothing is followed by the next after this.
const FUTILE_RUN_COOLDOWN: Duration = Duration::from_secs(300);

struct ArchiveWorker {
    jobs: Vec<Job>,
    schedule: Schedule,
    stats: Arc<ProcessStats>,
    progress: Arc<Progress>,
}

impl ArchiveWorker {
    async fn run_on_schedule(&self, stop: &CancellationToken) -> Result<(), JobSchedulerError> {
        let (ask, mut asked) = mpsc::channel(1);
        let mut futile: Option<Instant> = None;
        self.stats.set_next_archive_run(self.schedule.next_after(SystemClock.now()));
        self.run_jobs();
        while !stop.is_cancelled() {
            let mut scheduler = self.start_scheduler(ask.clone()).await?;
            let mut seen = SystemClock.now();
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    _ = asked.recv() => {
                        self.run_jobs();
                    }
                    () = sleep(CHECK_INTERVAL) => {
                        let rests = futile.is_some_and(|since| since.elapsed() < FUTILE_RUN_COOLDOWN);
                        if !rests && self.jobs.iter().any(Job::is_below_min_free_disk) {
                            info!("less is free on the disk than `min_free_disk`: an early run");
                            futile = (self.run_jobs() == 0).then(Instant::now);
                        }
                    }
                }
                // The scheduler waits for a time that it has worked out: when the clock steps back,
                // it would wait for as long again.
                let now = SystemClock.now();
                if now < seen {
                    info!("the clock stepped back: the archive's schedule starts anew");
                    break;
                }
                seen = now;
            }
            scheduler.shutdown().await?;
        }
        Ok(())
    }

    /// A scheduler that asks for a run. It starts its jobs side by side; here they only ask, and
    /// asking twice is asking once.
    async fn start_scheduler(
        &self,
        ask: mpsc::Sender<()>,
    ) -> Result<JobScheduler, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let timer = Timer::new_async(self.schedule.as_str(), move |_, _| {
            let ask = ask.clone();
            Box::pin(async move {
                // Full: it is asked for already.
                let _full = ask.try_send(());
            })
        })?;
        scheduler.add(timer).await?;
        scheduler.start().await?;
        self.stats.set_next_archive_run(self.schedule.next_after(SystemClock.now()));
        Ok(scheduler)
    }

    /// The job once, in every directory. Gives how many hours were removed.
    fn run_jobs(&self) -> u64 {
        let mut removed = 0;
        let clock = SystemClock;
        self.stats.record_archive_start(clock.now());
        let begun = Instant::now();
        for job in &self.jobs {
            // A slip of ours on one archive must not be the last run of all.
            let ran = catch_unwind(AssertUnwindSafe(|| {
                job.run(&clock, &self.progress, &mut |event| self.log_event(event))
            }));
            let Ok(ran) = ran else {
                let error = "the archive's run panicked, see stderr; the next one tries again";
                error!(dir = %job.dir.display(), "{error}");
                self.stats.record_archive_failure(error.to_owned());
                continue;
            };
            match ran {
                Ok(summary) => {
                    removed += summary.removed;
                    self.stats.add_archive_summary(&summary);
                }
                Err(JobError::Stopped(_)) => {
                    info!(dir = %job.dir.display(), "archive run stopped; the next one takes it up");
                    break;
                }
                Err(error) => {
                    let error = error_chain(&error);
                    warn!(dir = %job.dir.display(), %error, "archive run failed");
                    self.stats.record_archive_failure(error);
                }
            }
        }
        self.stats.record_archive_end(begun.elapsed());
        self.stats.set_next_archive_run(self.schedule.next_after(clock.now()));
        removed
    }

    fn log_event(&self, event: &JobEvent) {
        if let JobEvent::Failed { .. } = event {
            self.stats.record_archive_failure(event.to_string());
        }
        if event.is_warning() {
            warn!("{event}");
        } else {
            info!("{event}");
        }
    }
}

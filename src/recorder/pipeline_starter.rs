//! Starts pipelines, at the start of the recorder and by a reload.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, error, info_span};

use crate::base::error_chain::error_chain;
use crate::base::time::SystemClock;
use crate::engine::{Pipeline, PipelineControl, PipelineError};
use crate::metrics::{PipelineStats, ProcessStats};

/// Starts pipelines.
pub(crate) struct PipelineStarter {
    stats: Arc<ProcessStats>,
    stop: CancellationToken,
    /// Time from which the ticks of all pipelines count, so that they are one wake-up.
    ticks_from: Instant,
    tasks: PipelineTasks,
}

/// The tasks of all pipelines. All clones are the same tasks.
#[derive(Clone)]
pub(crate) struct PipelineTasks(Arc<Mutex<AddedTasks>>);

/// The tasks that were added since the others are waited for; `None` once nobody waits any more.
type AddedTasks = Option<JoinSet<Result<(), PipelineError>>>;

/// A pipeline that runs.
pub(crate) struct RunningPipeline {
    pub(crate) control: Arc<PipelineControl>,
    /// Directory in which each of its sinks writes hours, if it does.
    pub(crate) sink_dirs: Vec<Option<PathBuf>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// The name of a pipeline in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogName {
    /// Every line names the pipeline.
    Shown,
    /// The pipeline is the only one.
    Hidden,
}

impl PipelineStarter {
    /// Creates a starter, and the tasks that it adds to.
    pub(crate) fn new(stats: Arc<ProcessStats>, stop: CancellationToken) -> (Self, PipelineTasks) {
        let tasks = PipelineTasks(Arc::new(Mutex::new(Some(JoinSet::new()))));
        let waited_for = tasks.clone();
        (Self { stats, stop, ticks_from: Instant::now(), tasks }, waited_for)
    }

    /// Starts a pipeline whose required sinks are open.
    pub(crate) fn start(
        &self,
        pipeline: Pipeline,
        stats: Arc<PipelineStats>,
        log_name: LogName,
    ) -> RunningPipeline {
        let name = pipeline.name.clone();
        let span = match log_name {
            LogName::Shown => info_span!("pipeline", name),
            LogName::Hidden => Span::none(),
        };
        self.stats.set_pipeline(&name, Arc::clone(&stats));
        let stop = self.stop.child_token();
        let ended = CancellationToken::new();
        let running = RunningPipeline {
            control: Arc::clone(&pipeline.control),
            sink_dirs: pipeline.sink_dirs.clone(),
            stop: stop.clone(),
            ended: ended.clone(),
        };
        let ticks_from = self.ticks_from;
        let ended = ended.drop_guard();
        let run = async move {
            let _ended = ended;
            let result = pipeline.run(stats, Arc::new(SystemClock), ticks_from, stop).await;
            if let Err(failure) = &result {
                error!(error = %error_chain(failure), "the recording failed");
            }
            result
        };
        self.tasks.add(run.instrument(span));
        running
    }

    /// Keeps the recorder running until the guard is dropped, also without a pipeline.
    pub(crate) fn hold(&self) -> DropGuard {
        let released = self.stop.child_token();
        let guard = released.clone().drop_guard();
        self.tasks.add(async move {
            released.cancelled().await;
            Ok(())
        });
        guard
    }
}

impl PipelineTasks {
    fn add(&self, task: impl Future<Output = Result<(), PipelineError>> + Send + 'static) {
        // Once all pipelines have ended the recorder ends, and starts none.
        if let Some(added) = self.lock_added().as_mut() {
            added.spawn(task);
        }
    }

    /// Waits until each pipeline has ended, and returns the first failure. A pipeline that fails
    /// does not stop the others.
    pub(crate) async fn wait(self) -> Result<(), PipelineError> {
        let mut first = Ok(());
        while let Some(mut tasks) = self.take_added() {
            while let Some(ended) = tasks.join_next().await {
                // The panic hook has logged a task that panicked.
                first = first.and(ended.unwrap_or(Err(PipelineError::ThreadPanicked)));
            }
        }
        first
    }

    /// Takes the tasks that were added. Without any, none can be added any more.
    fn take_added(&self) -> AddedTasks {
        let mut added = self.lock_added();
        let taken = added.take().filter(|tasks| !tasks.is_empty());
        if taken.is_some() {
            *added = Some(JoinSet::new());
        }
        taken
    }

    fn lock_added(&self) -> MutexGuard<'_, AddedTasks> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningPipeline {
    /// Stops the pipeline in order, and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

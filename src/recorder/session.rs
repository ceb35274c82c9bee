//! One recording on the recorder's runtime, from opening the sinks to the last log line.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::hook::{HookEnd, HookProgram, report_alerts};
use super::logging::{Log, LogCollector};
use super::orphans::{adopts_orphans, reap_orphans_as_they_end};
use super::pipeline_starter::{LogName, PipelineStarter};
use super::recorder_error::{RecorderError, RecorderErrorKind};
use super::reload::{ReloadHandle, Reloader, RunningConfig, reload_channel};
use super::service_manager::{Notification, ServiceManager};
use super::service_reporter::ServiceReporter;
use super::sidecar::Sidecar;
use super::signals::SignalHandler;
use super::status::StatusSocket;
use super::status_log::log_status_periodically;
use crate::archive::progress::Progress;
use crate::base::secrets::Secrets;
use crate::config::{ArchiveLocation, BuiltPipeline, OnEventConfig, RecorderSettings, Schedule};
use crate::engine::Pipeline;
use crate::metrics::{ProcessStats, Snapshot};

/// One recording: the settings of the process and its counters.
pub(super) struct Session {
    pub(super) running: RunningConfig,
    pub(super) settings: RecorderSettings,
    pub(super) handles_signals: bool,
    pub(super) log: LogCollector,
    pub(super) stats: Arc<ProcessStats>,
}

impl Session {
    /// Runs the pipelines until `stop` completes, a signal arrives or all have ended, and returns
    /// the final counters.
    pub(super) async fn record(
        self,
        mut pipelines: Vec<BuiltPipeline>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Snapshot, RecorderError> {
        let Self { running, settings, handles_signals, log, stats } = self;
        let socket = match &settings.status_socket {
            Some(path) => Some(StatusSocket::bind(path).await?),
            None => None,
        };
        for built in &mut pipelines {
            built.pipeline.open_required_sinks()?;
        }
        // Registered before the log says "started": whoever reads that may send a signal at once.
        let signals = handles_signals.then(SignalHandler::register);
        let log = log.start_writing().map_err(RecorderErrorKind::StartLog)?;
        let log = Arc::new(log);
        log_start(running.file.path(), &settings, &pipelines);
        let token = CancellationToken::new();
        let service = if handles_signals { ServiceManager::from_env() } else { None };
        let service = service.map(Arc::new);
        let (reload, reload_requests) = reload_channel();
        // Tasks of their own: when data arrives, the runtime polls the tasks of the connections
        // and not these.
        let mut background = JoinSet::new();
        background.spawn({
            let token = token.clone();
            async move {
                stop.await;
                token.cancel();
            }
        });
        if let Some(mut socket) = socket {
            let stats = Arc::clone(&stats);
            let file = Arc::clone(&running.file);
            let reload = reload.clone();
            background.spawn(async move { socket.serve(&stats, &file, &reload).await });
        }
        if let Some(interval) = settings.status_interval {
            background.spawn(log_status_periodically(interval, Arc::clone(&stats)));
        }
        let sidecar = match &settings.archive {
            Some(archive) => Some(start_sidecar(archive, &stats, &token)?),
            None => None,
        };
        if let Some(sidecar) = &sidecar {
            background.spawn(request_stop_with(token.clone(), sidecar.progress()));
        }
        let hook = settings.on_event.clone().and_then(|config| {
            let secrets = settings.secrets.clone();
            start_hook(config, &stats, secrets, &token, &mut background)
        });
        let (starter, tasks) = PipelineStarter::new(Arc::clone(&stats), token.clone());
        let log_name = if pipelines.len() > 1 { LogName::Shown } else { LogName::Hidden };
        let start = |BuiltPipeline { pipeline, stats }| {
            (pipeline.name.clone(), starter.start(pipeline, stats, log_name))
        };
        let pipelines = pipelines.into_iter().map(start).collect();
        let archive = settings.archive.as_ref().map(|archive| archive.config.clone());
        let reloader = Reloader {
            archive: archive.zip(sidecar.as_ref().map(Sidecar::jobs)),
            running,
            pipelines,
            starter,
            stats: Arc::clone(&stats),
            secrets: settings.secrets.clone(),
            service: service.clone(),
            stop: token.clone(),
        };
        background.spawn(reloader.run(reload_requests));
        if let Some(service) = &service {
            let secrets = settings.secrets.clone();
            let reporter = ServiceReporter::new(Arc::clone(service), Arc::clone(&stats), secrets);
            background.spawn(reporter.run(token.clone()));
        }
        if let Some(signals) = signals {
            handle_signals_in(&mut background, signals, &log, reload, &token);
        }
        if handles_signals && adopts_orphans() {
            background.spawn(reap_orphans());
        }
        let ended = tasks.wait().await;
        if let Some(service) = service {
            service.send(Notification::Stopping);
        }
        if let Some(sidecar) = sidecar {
            sidecar.stop(settings.shutdown_timeout).await;
        }
        // Drops the status socket, which removes its file.
        background.shutdown().await;
        if let Some(hook) = hook {
            hook.wait().await;
        }
        let end = stats.snapshot();
        info!(
            messages = end.total.messages,
            bytes = end.total.bytes,
            dropped = end.total.dropped,
            connects = end.total.connects,
            uptime_seconds = end.uptime_seconds,
            "stopped"
        );
        log.flush();
        ended?;
        Ok(end)
    }
}

/// Stops the current run of the sidecar when the recorder stops.
async fn request_stop_with(stop: CancellationToken, progress: Arc<Progress>) {
    stop.cancelled().await;
    progress.request_stop();
}

/// Reaps what programs leave behind, as process 1 must.
async fn reap_orphans() {
    if let Err(error) = reap_orphans_as_they_end().await {
        warn!(%error, "as process 1: what programs leave behind stays in the process table");
    }
}

/// Handles signals in the background, if they could be registered.
fn handle_signals_in(
    background: &mut JoinSet<()>,
    signals: io::Result<SignalHandler>,
    log: &Arc<Log>,
    reload: ReloadHandle,
    stop: &CancellationToken,
) {
    match signals {
        Ok(signals) => {
            background.spawn(signals.handle(Arc::clone(log), reload, stop.clone()));
        }
        Err(error) => {
            warn!(%error, "cannot handle signals: a signal ends the recording without a clean stop");
        }
    }
}

/// Starts to tell the program of `on_event` of alerts.
fn start_hook(
    config: OnEventConfig,
    stats: &Arc<ProcessStats>,
    secrets: Secrets,
    stop: &CancellationToken,
    background: &mut JoinSet<()>,
) -> Option<HookEnd> {
    match HookProgram::spawn(config.clone()) {
        Ok((program, end)) => {
            let stats = Arc::clone(stats);
            background.spawn(report_alerts(config, stats, program, secrets, stop.clone()));
            Some(end)
        }
        Err(error) => {
            warn!(%error, "the system has no thread for the program of `on_event`, which is told nothing");
            None
        }
    }
}

/// Logs that the recording begins, and what is doubtful about it.
fn log_start(file: &Path, settings: &RecorderSettings, pipelines: &[BuiltPipeline]) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        config = %file.display(),
        endpoint = %join_descriptions(pipelines, Pipeline::endpoint),
        output = %join_descriptions(pipelines, Pipeline::destinations),
        status_socket = ?settings.status_socket,
        "started"
    );
    if rustix::process::geteuid().is_root() {
        warn!(
            "running as root: run the recorder as a user of its own, so that a flaw in it gives an attacker no more than that user's rights"
        );
    }
    for warning in &settings.warnings {
        warn!("{warning}");
    }
}

/// Joins the descriptions of all pipelines with commas.
fn join_descriptions(
    pipelines: &[BuiltPipeline],
    describe: impl Fn(&Pipeline) -> String,
) -> String {
    pipelines.iter().map(|built| describe(&built.pipeline)).collect::<Vec<_>>().join(", ")
}

/// Starts the sidecar with one job per directory of the archive.
fn start_sidecar(
    archive: &ArchiveLocation,
    stats: &Arc<ProcessStats>,
    stop: &CancellationToken,
) -> Result<Sidecar, RecorderErrorKind> {
    let schedule =
        Schedule::parse(&archive.config.schedule).map_err(RecorderErrorKind::Schedule)?;
    let jobs = archive.jobs().collect();
    Sidecar::start(jobs, schedule, Arc::clone(stats), stop).map_err(RecorderErrorKind::StartSidecar)
}

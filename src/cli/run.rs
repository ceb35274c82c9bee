//! `streamer run`: the recorder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error, info, info_span, warn};

use super::CliError;
use crate::base::child_process;
use crate::base::error_chain::error_chain;
use crate::base::pacer::Pacer;
use crate::base::time::{Clock, SystemClock};
use crate::config::{ArchiveConfig, Config, Schedule};
use crate::engine::{Pipeline, PipelineError};
use crate::metrics::ProcessStats;
use crate::recorder::logging::Log;
use crate::recorder::sidecar::Sidecar;
use crate::recorder::status::StatusSocket;
use crate::registry::Registry;

/// More open files than this are of no use.
const MAX_OPEN_FILES: u64 = 65_536;
/// Exit code of a second Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;

pub(super) fn run(file: &Path, debug: bool, registry: &Registry) -> Result<ExitCode, CliError> {
    let config = Config::load(file, registry)?;
    if let Some(sink) = config.stdout_sink.as_ref().filter(|_| debug) {
        let message = format!("-debug logs to stdout, where `{sink}` writes messages");
        return Err(CliError::Usage(message));
    }
    record(config, &file.display().to_string(), debug, &CancellationToken::new())?;
    Ok(ExitCode::SUCCESS)
}

/// Records until the token is cancelled or a signal comes. Gives the counters.
pub(super) fn record(
    config: Config,
    name: &str,
    debug: bool,
    stop: &CancellationToken,
) -> Result<Arc<ProcessStats>, CliError> {
    let totals = Arc::new(ProcessStats::new(SystemClock.now()));
    let pacer = Arc::new(Pacer::default());
    let (log, status_socket) = (config.log.clone(), config.status_socket.clone());
    let status_interval = config.status_interval;
    let archive = config.archive.clone();
    let shutdown_timeout = config.shutdown_timeout;
    let mut pipelines = config.build(&totals, &pacer)?;
    let runtime = build_runtime(pacer).context("cannot start the runtime")?;
    // The tasks that are left when the pipeline has ended own nothing that needs an end of its own;
    // a name look-up that hangs must not hold up the exit.
    let recorded = runtime.block_on(async {
        let socket = match &status_socket {
            Some(path) => Some(StatusSocket::bind(path).await?),
            None => None,
        };
        for pipeline in &mut pipelines {
            pipeline.open_required_sinks()?;
        }
        raise_file_limit();
        // Before anybody is told that it runs, and stops it.
        let signals = register_signals();
        let log = Arc::new(Log::start(&log, debug, &totals).context("cannot start the log")?);
        info!(
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            config = name,
            endpoint = %join_descriptions(&pipelines, Pipeline::endpoint),
            output = %join_descriptions(&pipelines, Pipeline::destinations),
            status_socket = ?status_socket,
            "started"
        );
        if rustix::process::geteuid().is_root() {
            warn!("running as root: a user of its own is enough, and whoever takes over this process gets no more than that");
        }
        // Tasks of their own, so that the recording alone is looked at when data comes.
        let mut beside = JoinSet::new();
        if let Some(socket) = socket {
            let totals = Arc::clone(&totals);
            beside.spawn(async move { socket.serve(&totals).await });
        }
        if let Some(interval) = status_interval {
            beside.spawn(log_status(interval, Arc::clone(&totals)));
        }
        let sidecar = archive.map(|archive| start_sidecar(&archive, &totals, stop)).transpose()?;
        if let Some(sidecar) = &sidecar {
            let (progress, stop) = (sidecar.progress(), stop.clone());
            beside.spawn(async move {
                stop.cancelled().await;
                progress.request_stop();
            });
        }
        beside.spawn(handle_signals(signals, Arc::clone(&log), stop.clone()));
        let ended = run_pipelines(pipelines, &totals, stop).await;
        if let Some(sidecar) = sidecar {
            sidecar.stop(shutdown_timeout).await;
        }
        // Removes the socket.
        beside.shutdown().await;
        let end = totals.snapshot();
        info!(
            messages = end.total.messages,
            bytes = end.total.bytes,
            dropped = end.total.dropped,
            connects = end.total.connects,
            uptime_seconds = end.uptime_seconds,
            "stopped"
        );
        log.flush();
        anyhow::Ok(ended?)
    });
    runtime.shutdown_background();
    child_process::kill_all();
    recorded?;
    Ok(totals)
}

/// Runs the pipelines until each has come to its end, and gives the first failure. One that fails
/// does not stop the others.
async fn run_pipelines(
    pipelines: Vec<Pipeline>,
    totals: &Arc<ProcessStats>,
    stop: &CancellationToken,
) -> Result<(), PipelineError> {
    let several = pipelines.len() > 1;
    let mut running = JoinSet::new();
    for pipeline in pipelines {
        let (stats, stop) = (totals.register_pipeline(&pipeline.name), stop.clone());
        let name = pipeline.name.clone();
        let span = if several { info_span!("pipeline", name) } else { Span::none() };
        let run = async move {
            let ended = pipeline.run(stats, Arc::new(SystemClock), stop).await;
            if let Err(failure) = &ended {
                error!(error = %error_chain(failure), "the recording did not end well");
            }
            ended
        };
        running.spawn(run.instrument(span));
    }
    let mut first = Ok(());
    while let Some(ended) = running.join_next().await {
        // A task that panicked was told of by the panic.
        first = first.and(ended.unwrap_or(Err(PipelineError::ThreadPanicked)));
    }
    first
}

/// The soft limit of open files is what programs expect that were written for few; ours is the hard
/// one, within reason.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MAX_OPEN_FILES, |maximum| maximum.min(MAX_OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        // Where it stays, sinks get by with what they have.
        let _stays = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}

/// What this says of each of them, as one text.
fn join_descriptions(pipelines: &[Pipeline], says: impl Fn(&Pipeline) -> String) -> String {
    pipelines.iter().map(says).collect::<Vec<_>>().join(", ")
}

/// The sidecar for the directories of this configuration.
fn start_sidecar(
    (archive, dirs): &(ArchiveConfig, Vec<PathBuf>),
    stats: &Arc<ProcessStats>,
    stop: &CancellationToken,
) -> anyhow::Result<Sidecar> {
    let schedule = Schedule::parse(&archive.schedule).map_err(anyhow::Error::msg)?;
    let jobs = dirs.iter().map(|dir| archive.job(dir.clone())).collect();
    Sidecar::start(jobs, schedule, Arc::clone(stats), stop).context("cannot start the sidecar")
}

/// One thread for the network. Before it waits for events it rests as its sources ask.
fn build_runtime(pacer: Arc<Pacer>) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || pacer.pause())
        .build()
}

async fn log_status(every: Duration, stats: Arc<ProcessStats>) {
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = stats.snapshot();
        let total = &snapshot.total;
        let (dropped, connected) = (total.dropped, total.connected);
        match &total.stall {
            None => info!(dropped, connected, "{snapshot}"),
            Some(stall) => {
                let stalled_seconds = stall.seconds;
                warn!(dropped, connected, stalled_seconds, error = %stall.error, "{snapshot}");
            }
        }
    }
}

/// The first SIGINT or SIGTERM stops, the second exits at once; SIGHUP opens the log anew.
#[expect(clippy::exit, reason = "asked for twice: there is nothing to wait for any more")]
async fn handle_signals(
    signals: std::io::Result<[Signal; 3]>,
    log: Arc<Log>,
    stop: CancellationToken,
) {
    let [mut interrupt, mut terminate, mut hangup] = match signals {
        Ok(signals) => signals,
        Err(error) => {
            warn!(%error, "signals cannot be caught: they will end the recording at once");
            return std::future::pending().await;
        }
    };
    loop {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = hangup.recv() => {
                log.reopen();
                info!("SIGHUP: log opened anew");
                continue;
            }
        };
        if stop.is_cancelled() {
            warn!(signal = name, "second signal, exiting at once");
            log.flush();
            child_process::kill_all();
            std::process::exit(EXIT_INTERRUPTED);
        }
        info!(signal = name, "stopping");
        stop.cancel();
    }
}

fn register_signals() -> std::io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ])
}

//! Records what a configuration names until the recording is stopped or every source has ended.
//!
//! The recorder owns the runtime, the log, the status socket and the sidecar that archives closed
//! hours. The command line and a program that embeds the library start it in the same way.

mod file_limit;
pub(crate) mod hook;
pub(crate) mod logging;
mod orphans;
mod pipeline_starter;
mod recorder_error;
pub(crate) mod reload;
mod service_manager;
mod service_reporter;
mod session;
pub(crate) mod sidecar;
mod signals;
pub(crate) mod status;
mod status_log;
mod verbosity;

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use self::file_limit::raise_file_limit;
use self::logging::LogCollector;
pub use self::recorder_error::RecorderError;
pub(crate) use self::recorder_error::RecorderErrorKind;
use self::reload::{ConfigFile, RunningConfig, new_run_id};
use self::session::Session;
pub(crate) use self::signals::survive_file_size_limit;
pub(crate) use self::verbosity::Verbosity;
use crate::base::child_process;
use crate::base::pacer::Pacer;
use crate::base::time::{Clock, SystemClock};
use crate::config::{Config, config_digest};
use crate::metrics::{ProcessStats, Snapshot};
use crate::registry::Registry;

/// A recorder that is configured and not running yet.
///
/// One process runs one recorder at a time: the recorder raises the limit of open files, sets the
/// log of the process unless the program has set a `tracing` subscriber, and kills the child
/// processes of its plugins at the end.
///
/// A recording that ends with its source, a file:
///
/// ```
/// use streamer::{Recorder, Registry};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let trades = dir.path().join("trades.jsonl");
/// std::fs::write(&trades, "{\"price\":1}\n{\"price\":2}\n")?;
/// let config = dir.path().join("config.json");
/// let text = serde_json::json!({
///     "source": { "type": "file", "paths": [trades] },
///     "sinks": [{ "type": "jsonl", "output_dir": dir.path().join("output"), "stem": "trades" }],
///     "status_socket": "",
///     "log_file": "",
/// });
/// std::fs::write(&config, text.to_string())?;
///
/// let recorder = Recorder::load(&config, &Registry::builtin())?;
/// // A recording without an end of its own needs a future that completes.
/// let end = recorder.run(std::future::pending())?;
/// assert_eq!(end.total.messages, 2);
/// # Ok(())
/// # }
/// ```
pub struct Recorder {
    config: Config,
    registry: Registry,
    handles_signals: bool,
    verbosity: Verbosity,
}

impl Recorder {
    /// Reads and checks the configuration file with the plugins of the registry.
    ///
    /// # Errors
    /// The file cannot be read, or the configuration has problems; the error lists all of them.
    pub fn load(file: &Path, registry: &Registry) -> Result<Self, RecorderError> {
        Ok(Self::new(Config::load(file, registry)?, registry))
    }

    /// Creates a recorder that reloads its file with the plugins of the registry.
    pub(crate) fn new(config: Config, registry: &Registry) -> Self {
        let registry = registry.clone();
        Self { config, registry, handles_signals: false, verbosity: Verbosity::default() }
    }

    /// Makes the recorder handle the signals of the process.
    ///
    /// The first SIGINT or SIGTERM stops the recording, a second one ends the process with exit
    /// code 130. SIGHUP opens the log file again and reloads the configuration. The service manager that started the process, such
    /// as systemd, is told of the start, the stop and the progress.
    #[must_use]
    pub fn with_signal_handling(mut self) -> Self {
        self.handles_signals = true;
        self
    }

    /// Sets the amount of detail in the log.
    #[must_use]
    pub(crate) fn with_verbosity(mut self, verbosity: Verbosity) -> Self {
        self.verbosity = verbosity;
        self
    }

    /// Records until `stop` completes, a handled signal arrives or every source has ended, and
    /// returns the final counters.
    ///
    /// Messages that were received before the stop are written, for at most `shutdown_timeout`.
    /// The recorder has a runtime of its own: call it from a thread that runs no async code. The
    /// future runs on that runtime.
    ///
    /// # Errors
    /// The recorder could not start, or a pipeline failed. A pipeline that fails does not stop the
    /// others; the first failure is returned after all have ended.
    pub fn run(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Snapshot, RecorderError> {
        let Self { config, registry, handles_signals, verbosity } = self;
        // Without the handler the signal has its default action, as before.
        drop(survive_file_size_limit());
        let Config { file, settings, pipelines, resolved, text_hash, .. } = config;
        let log = LogCollector::start(&settings.log, verbosity, settings.secrets.clone());
        raise_file_limit();
        let stats = ProcessStats::new(SystemClock.now()).with_log_lines_lost(log.lines_lost());
        let stats = Arc::new(stats);
        let pacer = Arc::new(Pacer::default());
        let running = RunningConfig {
            registry,
            pacer: Arc::clone(&pacer),
            run_id: new_run_id(),
            digest: config_digest(&resolved),
            resolved,
            file: Arc::new(ConfigFile::new(&file, text_hash)),
        };
        let pipelines = pipelines.build(&running.place())?;
        let runtime = build_runtime(pacer).map_err(RecorderErrorKind::StartRuntime)?;
        let session = Session { running, settings, handles_signals, log, stats };
        let recorded = runtime.block_on(session.record(pipelines, stop));
        // The tasks that are left after the pipelines own nothing that must be closed: a name
        // look-up that hangs must not delay the exit.
        runtime.shutdown_background();
        child_process::kill_all();
        recorded
    }
}

/// Builds a runtime of one thread for the network, which pauses before it waits for events for as
/// long as its sources ask.
fn build_runtime(pacer: Arc<Pacer>) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || pacer.pause())
        .build()
}

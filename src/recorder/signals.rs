//! The signals that stop the recording or reload the configuration.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::logging::Log;
use super::reload::ReloadHandle;
use crate::base::child_process;

/// Exit code of the process after a second SIGINT or SIGTERM.
const EXIT_INTERRUPTED: i32 = 130;

/// The registered signals: from the registration on they do not end the process.
pub(super) struct SignalHandler {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// Makes a write beyond the largest size of a file (`ulimit -f`) fail instead of ending the process
/// with SIGXFSZ. Programs that this process starts keep the default. Must not be called from async
/// code.
///
/// # Errors
/// The operating system refuses a handler.
pub(crate) fn survive_file_size_limit() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _within = runtime.enter();
    // The handler stays when the runtime and the receiver are gone, and nobody waits for it.
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    signal(kind).map(drop)
}

impl SignalHandler {
    /// Registers SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// The operating system refuses a handler; the signals keep their default action.
    pub(super) fn register() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Handles signals until the task is dropped: the first SIGINT or SIGTERM cancels `stop`, the
    /// second one exits at once, SIGHUP opens the log file again and reloads the configuration.
    pub(super) async fn handle(
        mut self,
        log: Arc<Log>,
        reload: ReloadHandle,
        stop: CancellationToken,
    ) {
        loop {
            let name = tokio::select! {
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.hangup.recv() => {
                    // Not by the reload, which may wait for another one, or for the file.
                    log.reopen();
                    info!("SIGHUP: reopened the log file");
                    reload.hang_up();
                    continue;
                }
            };
            if stop.is_cancelled() {
                warn!(signal = name, "second signal, exiting at once");
                log.flush();
                child_process::kill_all();
                // The second signal asks for an exit without a clean end.
                std::process::exit(EXIT_INTERRUPTED);
            }
            info!(signal = name, "stopping");
            stop.cancel();
        }
    }
}

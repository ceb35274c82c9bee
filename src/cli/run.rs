//! `streamer run`: records what the configuration names.

use std::path::Path;
use std::process::ExitCode;

use super::cli_error::CliError;
use crate::config::Config;
use crate::recorder::{Recorder, Verbosity};
use crate::registry::Registry;

pub(super) fn run(file: &Path, debug: bool, registry: &Registry) -> Result<ExitCode, CliError> {
    let config = Config::load(file, registry)?;
    if let Some(sink) = config.stdout_sink.as_ref().filter(|_| debug) {
        let message = format!("-debug logs to stdout, where `{sink}` writes messages");
        return Err(CliError::Usage(message));
    }
    let secrets = config.settings.secrets.clone();
    let verbosity = if debug { Verbosity::Debug } else { Verbosity::Normal };
    let recorder = Recorder::new(config, registry).with_signal_handling().with_verbosity(verbosity);
    // A signal is the only stop.
    let ended = recorder.run(std::future::pending());
    ended.map_err(|error| CliError::from(error).masked(&secrets))?;
    Ok(ExitCode::SUCCESS)
}

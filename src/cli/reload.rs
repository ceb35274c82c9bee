//! `streamer reload`: makes the running recorder reload its configuration.

use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;

use super::cli_error::CliError;
use super::output::{OutputFormat, print, print_json};
use crate::config::Config;
use crate::recorder::reload::ReloadOutcome;
use crate::recorder::status::query_reload;

/// Exit code for a file that cannot be used.
const EXIT_CONFIG: u8 = 2;

pub(super) fn reload(file: &Path, format: OutputFormat) -> Result<ExitCode, CliError> {
    let (socket, secrets) = Config::load_status_socket(file)?;
    let Some(socket) = socket else {
        let message = format!("`{}` has no `status_socket`; send SIGHUP instead", file.display());
        return Err(anyhow!(message).into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime
        .block_on(query_reload(&socket))
        .map_err(|error| CliError::from(anyhow::Error::from(error)).masked(&secrets))?;
    match format {
        OutputFormat::Text => print(&format!("{report}\n"))?,
        OutputFormat::Json => print_json(&report)?,
    }
    Ok(match report.outcome {
        ReloadOutcome::Unchanged | ReloadOutcome::Applied => ExitCode::SUCCESS,
        ReloadOutcome::Partial | ReloadOutcome::Stopping => ExitCode::FAILURE,
        ReloadOutcome::Failed => ExitCode::from(EXIT_CONFIG),
    })
}

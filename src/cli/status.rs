//! `streamer status`: prints the status of the running recorder.

use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;

use super::cli_error::CliError;
use super::output::{OutputFormat, print, print_json};
use crate::config::Config;
use crate::recorder::status::query_status;

pub(super) fn status(file: &Path, format: OutputFormat) -> Result<ExitCode, CliError> {
    let (socket, secrets) = Config::load_status_socket(file)?;
    let Some(socket) = socket else {
        return Err(anyhow!("`{}` has no `status_socket` to query", file.display()).into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let snapshot = runtime
        .block_on(query_status(&socket))
        .map_err(|error| CliError::from(anyhow::Error::from(error)).masked(&secrets))?;
    match format {
        OutputFormat::Text => print(&format!("{snapshot}\n"))?,
        OutputFormat::Json => print_json(&snapshot)?,
    }
    Ok(ExitCode::SUCCESS)
}

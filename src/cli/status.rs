//! `streamer status`: prints the status of the running recorder, or checks it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;

use super::cli_error::CliError;
use super::output::{OutputFormat, print, print_json};
use crate::base::units::{ConfigDuration, UnitError};
use crate::config::Config;
use crate::metrics::{CheckResult, HealthCheck, Snapshot};
use crate::recorder::status::query_status;

/// Exit code of a check that no recorder answers.
const NO_ANSWER: u8 = 3;

#[derive(Debug, Default, Args)]
pub(super) struct StatusArgs {
    /// Print every counter, as JSON
    #[arg(long)]
    json: bool,
    /// Print one line, and exit with 0 if all is well, 1 if something is not, 2 if a pipeline records
    /// nothing, and 3 if no recorder answers
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// Longest time for which a pipeline may be without data, such as 60s
    #[arg(long, value_name = "TIME", requires = "check", value_parser = parse_time)]
    max_age: Option<Duration>,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time: ConfigDuration = text.parse().map_err(|error: UnitError| error.to_string())?;
    Ok(time.to_duration())
}

pub(super) fn status(args: &StatusArgs, file: &Path) -> Result<ExitCode, CliError> {
    if !args.check {
        let snapshot = query(file)?;
        match OutputFormat::from_flag(args.json) {
            OutputFormat::Text => print(&format!("{snapshot}\n"))?,
            OutputFormat::Json => print_json(&snapshot)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let snapshot = match query(file) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            print(&format!("NO ANSWER | {}\n", error.to_line()))?;
            return Ok(ExitCode::from(NO_ANSWER));
        }
    };
    let HealthCheck { result, reasons } = HealthCheck::of(&snapshot, args.max_age);
    let (word, code) = match result {
        CheckResult::Fine => ("FINE", 0),
        CheckResult::Degraded => ("DEGRADED", 1),
        CheckResult::Down => ("DOWN", 2),
    };
    let line = std::iter::once(word.to_owned()).chain(reasons).collect::<Vec<_>>().join(" | ");
    print(&format!("{line}\n"))?;
    Ok(ExitCode::from(code))
}

fn query(file: &Path) -> Result<Snapshot, CliError> {
    let (socket, secrets) = Config::load_status_socket(file)?;
    let Some(socket) = socket else {
        return Err(anyhow!("`{}` has no `status_socket` to query", file.display()).into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(query_status(&socket))
        .map_err(|error| CliError::from(anyhow::Error::from(error)).masked(&secrets))
}

//! `streamer archive`: runs the job of the sidecar once.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::archive_args::ArchiveLocationArgs;
use super::cli_error::CliError;
use super::output::{
    DeferredError, OutputFormat, print, print_json_line, print_message, to_json_line,
};
use super::progress::ProgressReporter;
use crate::archive::file_name::FileKind;
use crate::archive::hour_entry::HourEntry;
use crate::archive::job::{Job, JobPlan, JobSummary, Removal};
use crate::archive::progress::Progress;
use crate::archive::retention::RetentionClass;
use crate::base::symlinks::check_foreign_links;
use crate::base::time::{Clock, SystemClock};
use crate::recorder::survive_file_size_limit;
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct ArchiveArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object per line for each thing that is done
    #[arg(long)]
    json: bool,
}

pub(super) fn archive(
    args: &ArchiveArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let format = OutputFormat::from_flag(args.json);
    // Without the handler the signal has its default action, as before.
    drop(survive_file_size_limit());
    let mut failed = false;
    let mut output_error = DeferredError::default();
    for job in args.location.resolve(config, registry)?.jobs() {
        check_foreign_links(&job.dir).map_err(anyhow::Error::from)?;
        if args.dry_run {
            let plan = job.plan(SystemClock.now()).map_err(anyhow::Error::from)?;
            print(&match format {
                OutputFormat::Text => plan_text(&job, &plan),
                OutputFormat::Json => plan_json(&job, &plan)?,
            })?;
        } else {
            failed |= run_job(&job, format, &mut output_error)?.failures > 0;
        }
    }
    output_error.into_result()?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs the job and prints its events. An error of the output is kept for the end of all jobs, so
/// that a closed terminal does not stop the work.
fn run_job(
    job: &Job,
    format: OutputFormat,
    output_error: &mut DeferredError,
) -> Result<JobSummary, CliError> {
    let progress = Arc::new(Progress::default());
    let plan = job.plan(SystemClock.now()).map_err(anyhow::Error::from)?;
    let bar = ProgressReporter::start(&progress, plan.work_bytes());
    let result = job.run(&SystemClock, &progress, &mut |event| {
        bar.suspend(|| match format {
            OutputFormat::Json => output_error.record(print_json_line(event)),
            OutputFormat::Text if event.is_warning() => print_message(&event.to_string()),
            OutputFormat::Text => output_error.record(print(&format!("{event}\n"))),
        });
    });
    bar.finish();
    let summary = result.map_err(anyhow::Error::from)?;
    if format == OutputFormat::Text {
        output_error.record(print(&format!("{}\n", summary_text(&job.dir, &summary))));
    }
    Ok(summary)
}

fn summary_text(dir: &Path, summary: &JobSummary) -> String {
    let JobSummary { sealed, raw_bytes, stored_bytes, recorded, removed, removed_bytes, failures } =
        summary;
    let mut text = format!("{}: {sealed} sealed", dir.display());
    // Writing to a String cannot fail.
    if *sealed > 0 {
        let _infallible = write!(text, " ({raw_bytes} bytes in {stored_bytes})");
    }
    if *recorded > 0 {
        let _infallible = write!(text, ", {recorded} recorded");
    }
    let _infallible = write!(text, ", {removed} removed");
    if *removed > 0 {
        let _infallible = write!(text, " ({removed_bytes} bytes)");
    }
    let _infallible = write!(text, ", {failures} failed");
    text
}

/// One step of a plan, as `--json` prints it.
#[derive(Serialize)]
struct PlannedStep<'a> {
    event: &'static str,
    stem: &'a str,
    /// First second of the hour, RFC 3339.
    hour: String,
    path: PathBuf,
    bytes: u64,
    reason: String,
}

impl<'a> PlannedStep<'a> {
    fn new(
        event: &'static str,
        job: &Job,
        entry: &'a HourEntry,
        file: FileKind,
        bytes: u64,
        reason: String,
    ) -> Self {
        Self {
            event,
            stem: entry.stem.as_str(),
            hour: entry.hour.start().to_string(),
            path: entry.path(&job.dir, file),
            bytes,
            reason,
        }
    }
}

/// Returns the steps of a plan, in the order in which they would be done.
fn planned_steps<'a>(job: &Job, plan: &'a JobPlan) -> Vec<PlannedStep<'a>> {
    let to_seal = plan.to_seal.iter().map(|entry| {
        let is_late = entry.file(FileKind::Sealed).is_some();
        let reason = if is_late { "closed, and partly sealed already" } else { "closed" };
        let bytes = entry.unsealed_bytes();
        PlannedStep::new("would_seal", job, entry, FileKind::Lines, bytes, reason.to_owned())
    });
    let to_record = plan.to_record.iter().map(|entry| {
        let reason = "sealed by another program".to_owned();
        let bytes = file_bytes(entry, FileKind::Sealed);
        PlannedStep::new("would_record", job, entry, FileKind::Sealed, bytes, reason)
    });
    let to_remove = plan.to_remove.iter().map(|Removal { entry, limit, class }| {
        let is_unsealed = *class == RetentionClass::Unsealed;
        let warning = if is_unsealed { " (IT IS NOT SEALED)" } else { "" };
        let is_sealed = entry.file(FileKind::Sealed).is_some();
        let file = if is_sealed { FileKind::Sealed } else { FileKind::Lines };
        let reason = format!("{limit}{warning}");
        PlannedStep::new("would_remove", job, entry, file, entry.total_bytes(), reason)
    });
    to_seal.chain(to_record).chain(to_remove).collect()
}

fn file_bytes(entry: &HourEntry, kind: FileKind) -> u64 {
    entry.file(kind).map_or(0, |file| file.bytes)
}

fn plan_json(job: &Job, plan: &JobPlan) -> anyhow::Result<String> {
    let mut text = String::new();
    for step in planned_steps(job, plan) {
        text += &to_json_line(&step)?;
    }
    for warning in &plan.warnings {
        text += &to_json_line(warning)?;
    }
    Ok(text)
}

fn plan_text(job: &Job, plan: &JobPlan) -> String {
    let mut text = String::new();
    let mut bytes_to_seal = 0;
    let mut bytes_to_remove = 0;
    for step in planned_steps(job, plan) {
        let PlannedStep { event, path, bytes, reason, .. } = step;
        match event {
            "would_seal" => bytes_to_seal += bytes,
            "would_remove" => bytes_to_remove += bytes,
            _ => {}
        }
        let event = event.replace('_', " ");
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{event} {}: {bytes} bytes, {reason}", path.display());
    }
    for warning in &plan.warnings {
        let _infallible = writeln!(text, "{warning}");
    }
    let seal = plan.to_seal.len();
    let remove = plan.to_remove.len();
    let _infallible = writeln!(
        text,
        "{}: {seal} to seal ({bytes_to_seal} bytes), at most {remove} to remove ({bytes_to_remove} bytes)",
        job.dir.display()
    );
    if seal > 0 && remove > 0 {
        text += "The removals are computed from the present sizes. A run seals first, and may then remove less.\n";
    }
    text
}

//! `streamer archive`: the sidecar's job, once and now.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::archive_args::ArchiveLocationArgs;
use super::progress::ProgressReporter;
use super::{CliError, print, print_stderr};
use crate::archive::directory::HourEntry;
use crate::archive::file_name::FileKind;
use crate::archive::job::{Job, JobError, JobEvent, JobPlan, JobSummary};
use crate::archive::progress::Progress;
use crate::base::time::{Clock, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct ArchiveArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line for each thing that is done
    #[arg(long)]
    json: bool,
}

pub(super) fn archive(
    args: &ArchiveArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let place = args.location.resolve(config, registry)?;
    let mut failed = false;
    for dir in &place.dirs {
        let job = place.archive.job(dir.clone());
        if args.dry_run {
            let planned = job.plan(SystemClock.now()).map_err(anyhow::Error::from)?;
            print(&plan_text(&job, &planned, args.json))?;
        } else {
            let summary = run_job(&job, args.json).map_err(anyhow::Error::from)?;
            failed |= summary.failures > 0;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run_job(job: &Job, json: bool) -> Result<JobSummary, JobError> {
    let progress = Arc::new(Progress::default());
    let work = job.plan(SystemClock.now())?.work_bytes();
    let bar = ProgressReporter::start(&progress, work);
    let result = job.run(&SystemClock, &progress, &mut |event| {
        bar.suspend(|| {
            // Whoever does not read on must not stop the work.
            if json {
                drop(print(&json_line(event)));
            } else if event.is_warning() {
                print_stderr(&event.to_string());
            } else {
                drop(print(&format!("{event}\n")));
            }
        });
    });
    bar.finish();
    let summary = result?;
    if !json {
        drop(print(&format!("{}\n", summary_text(&job.dir, &summary))));
    }
    Ok(summary)
}

fn json_line(event: &JobEvent) -> String {
    // Plain numbers and texts: this cannot fail.
    serde_json::to_string(event).unwrap_or_default() + "\n"
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

fn plan_text(job: &Job, planned: &JobPlan, as_json: bool) -> String {
    let mut text = String::new();
    let mut line = |event: &str, entry: &HourEntry, kind: FileKind, bytes: u64, reason: &str| {
        let path = entry.path(&job.dir, kind);
        // Writing to a String cannot fail.
        let _infallible = if as_json {
            let value = json!({
                "event": event, "stem": entry.stem.as_str(), "hour": entry.hour.start().to_string(),
                "path": path, "bytes": bytes, "reason": reason,
            });
            writeln!(text, "{value}")
        } else {
            let event = event.replace('_', " ");
            writeln!(text, "{event} {}: {bytes} bytes, {reason}", path.display())
        };
    };
    let size = |entry: &HourEntry, kind| entry.file(kind).map_or(0, |file| file.bytes);
    let (mut to_seal, mut to_go) = (0, 0);
    for entry in &planned.to_seal {
        let bytes = size(entry, FileKind::Lines);
        let late = entry.file(FileKind::Sealed).is_some();
        let reason = if late { "closed, and partly sealed already" } else { "closed" };
        line("would_seal", entry, FileKind::Lines, bytes, reason);
        to_seal += bytes;
    }
    for entry in &planned.to_record {
        let bytes = size(entry, FileKind::Sealed);
        line("would_record", entry, FileKind::Sealed, bytes, "sealed by another program");
    }
    for (entry, event) in &planned.to_remove {
        let JobEvent::Removed { reason, unsealed, bytes, .. } = event else { continue };
        let loud = if *unsealed { " (IT IS NOT SEALED)" } else { "" };
        let kind =
            if entry.file(FileKind::Sealed).is_some() { FileKind::Sealed } else { FileKind::Lines };
        line("would_remove", entry, kind, *bytes, &format!("{reason}{loud}"));
        to_go += bytes;
    }
    for remark in &planned.warnings {
        if as_json {
            text += &json_line(remark);
        } else {
            let _infallible = writeln!(text, "{remark}");
        }
    }
    if !as_json {
        let (seal, remove) = (planned.to_seal.len(), planned.to_remove.len());
        let _infallible = writeln!(
            text,
            "{}: {seal} to seal ({to_seal} bytes), at most {remove} to remove ({to_go} bytes)",
            job.dir.display()
        );
        if seal > 0 && remove > 0 {
            text += "Removals are reckoned with the sizes of now; a run seals first, and may then remove less.\n";
        }
    }
    text
}

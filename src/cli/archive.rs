//! `streamer archive`: the sidecar's job, once and now.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::bar::Bar;
use super::place::PlaceArgs;
use super::{Failure, print, words};
use crate::archive::directory::HourEntry;
use crate::archive::job::{Event, Job, JobError, Planned, Summary};
use crate::archive::layout::Kind;
use crate::archive::progress::Progress;
use crate::clock::{Clock, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct ArchiveArgs {
    #[command(flatten)]
    place: PlaceArgs,
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
) -> Result<ExitCode, Failure> {
    let place = args.place.find(config, registry)?;
    let mut failed = false;
    for dir in &place.dirs {
        let job = place.archive.job(dir.clone());
        if args.dry_run {
            let planned = job.plan(SystemClock.now()).map_err(anyhow::Error::from)?;
            print(&plan_text(&job, &planned, args.json))?;
        } else {
            let summary = run(&job, args.json).map_err(anyhow::Error::from)?;
            failed |= summary.failures > 0;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run(job: &Job, json: bool) -> Result<Summary, JobError> {
    let progress = Arc::new(Progress::default());
    let work = job.plan(SystemClock.now())?.work();
    let bar = Bar::start(&progress, work);
    let result = job.run(&SystemClock, &progress, &mut |event| {
        bar.around(|| {
            // Whoever does not read on must not stop the work.
            if json {
                drop(print(&json_line(event)));
            } else if event.is_warning() {
                words(&event.to_string());
            } else {
                drop(print(&format!("{event}\n")));
            }
        });
    });
    bar.end();
    let summary = result?;
    if !json {
        drop(print(&format!("{}\n", summary_text(&job.dir, &summary))));
    }
    Ok(summary)
}

fn json_line(event: &Event) -> String {
    // Plain numbers and texts: this cannot fail.
    serde_json::to_string(event).unwrap_or_default() + "\n"
}

fn summary_text(dir: &Path, summary: &Summary) -> String {
    let Summary { sealed, raw_bytes, stored_bytes, recorded, removed, removed_bytes, failures } =
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

fn plan_text(job: &Job, planned: &Planned, as_json: bool) -> String {
    let mut text = String::new();
    let mut line = |event: &str, entry: &HourEntry, kind: Kind, bytes: u64, reason: &str| {
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
    for entry in &planned.seal {
        let bytes = size(entry, Kind::Lines);
        let late = entry.file(Kind::Sealed).is_some();
        let reason = if late { "closed, and partly sealed already" } else { "closed" };
        line("would_seal", entry, Kind::Lines, bytes, reason);
        to_seal += bytes;
    }
    for entry in &planned.record {
        let bytes = size(entry, Kind::Sealed);
        line("would_record", entry, Kind::Sealed, bytes, "sealed by another program");
    }
    for (entry, event) in &planned.remove {
        let Event::Removed { reason, unsealed, bytes, .. } = event else { continue };
        let loud = if *unsealed { " (IT IS NOT SEALED)" } else { "" };
        let kind = if entry.file(Kind::Sealed).is_some() { Kind::Sealed } else { Kind::Lines };
        line("would_remove", entry, kind, *bytes, &format!("{reason}{loud}"));
        to_go += bytes;
    }
    for remark in &planned.remarks {
        if as_json {
            text += &json_line(remark);
        } else {
            let _infallible = writeln!(text, "{remark}");
        }
    }
    if !as_json {
        let (seal, remove) = (planned.seal.len(), planned.remove.len());
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

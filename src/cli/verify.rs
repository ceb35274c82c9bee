//! `streamer verify`: proves every hour.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::archive_args::{ArchiveLocationArgs, ListedHour, available_cores};
use super::progress::ProgressReporter;
use super::{CliError, print, print_stderr};
use crate::archive::directory::HourEntry;
use crate::archive::file_name::FileKind;
use crate::archive::gaps::HourGaps;
use crate::archive::journal::sealed_records;
use crate::archive::progress::Progress;
use crate::archive::verify::{HourVerdict, verify_hours};
use crate::base::time::{Clock, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// One JSON object a line for each hour
    #[arg(long)]
    json: bool,
    /// How many hours are decoded at once; all cores without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub(super) fn verify(
    args: &VerifyArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let place = args.location.resolve(config, registry)?;
    let now = SystemClock.now();
    let (listed, _) = place.read_coverage(now)?;
    let threads = args.threads.map_or(available_cores(), usize::from);
    let progress = Arc::new(Progress::default());
    let bar = ProgressReporter::start(&progress, listed.iter().map(raw_bytes).sum());
    let mut counts = Counts::default();
    let gaps: HashMap<_, _> =
        listed.iter().map(|hour| ((hour.dir, hour.entry.clone()), hour.gaps)).collect();
    let hours = listed.into_iter().map(|hour| (hour.dir, hour.entry)).collect();
    verify_hours(hours, threads, &progress, |dir, entry, verdict| {
        let gaps = gaps.get(&(dir, entry.clone())).copied().unwrap_or_default();
        counts.add(&verdict, gaps);
        let unsealed =
            entry.file(FileKind::Lines).is_some() && entry.file(FileKind::Sealed).is_none();
        let path = entry.path(dir, if unsealed { FileKind::Lines } else { FileKind::Sealed });
        bar.suspend(|| {
            if args.json {
                drop(print(&json_line(&path, &entry, &verdict, gaps)));
            } else if let HourVerdict::Bad { reason } = &verdict {
                drop(print(&format!("BAD {}: {reason}\n", path.display())));
            } else if let HourVerdict::Unreadable { reason } = &verdict {
                drop(print(&format!("UNREADABLE {}: {reason}\n", path.display())));
            }
        });
    });
    bar.finish();
    if args.json {
        // The lines are all there is.
    } else {
        print(&counts.summary())?;
        if counts.unrecorded > 0 {
            print_stderr(
                "Unrecorded hours were sealed by another program; `streamer archive` records what they hold.",
            );
        }
    }
    Ok(if counts.bad + counts.unreadable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Bytes of lines that there are to look at, as far as they are known.
fn raw_bytes(hour: &ListedHour<'_>) -> u64 {
    let lines = hour.entry.file(FileKind::Lines).map_or(0, |file| file.bytes);
    let sealed =
        hour.entry.file(FileKind::Sealed).and_then(|_| sealed_records(&hour.journal).next_back());
    lines + sealed.map_or(0, |record| record.raw_bytes)
}

#[derive(Default)]
struct Counts {
    intact: u64,
    unrecorded: u64,
    unsealed: u64,
    bad: u64,
    unreadable: u64,
    /// Of those that are not bad or unreadable: whether they have gaps.
    complete: u64,
    with_gaps: u64,
    messages: u64,
    raw_bytes: u64,
}

impl Counts {
    fn add(&mut self, verdict: &HourVerdict, gaps: HourGaps) {
        let (kind, messages, raw_bytes) = match verdict {
            HourVerdict::Intact { messages, raw_bytes } => (&mut self.intact, messages, raw_bytes),
            HourVerdict::Unrecorded { messages, raw_bytes } => {
                (&mut self.unrecorded, messages, raw_bytes)
            }
            HourVerdict::Unsealed { messages, raw_bytes } => {
                (&mut self.unsealed, messages, raw_bytes)
            }
            HourVerdict::Unreadable { .. } => return self.unreadable += 1,
            HourVerdict::Bad { .. } => return self.bad += 1,
        };
        *kind += 1;
        self.messages += messages;
        self.raw_bytes += raw_bytes;
        let account =
            if gaps.duration.is_zero() { &mut self.complete } else { &mut self.with_gaps };
        *account += 1;
    }

    fn summary(&self) -> String {
        let Self { intact, unrecorded, unsealed, bad, unreadable, messages, raw_bytes, .. } = self;
        let mut text = format!("{intact} hours intact");
        // Writing to a String cannot fail.
        for (count, what) in [
            (unrecorded, "whole but unrecorded"),
            (unsealed, "not sealed yet, with all their lines"),
            (unreadable, "unreadable"),
        ] {
            if *count > 0 {
                let _infallible = write!(text, ", {count} {what}");
            }
        }
        let _infallible = writeln!(text, ", {bad} bad; {messages} messages, {raw_bytes} bytes");
        let _infallible =
            write!(text, "{} hours complete, {} with gaps", self.complete, self.with_gaps);
        text += if self.with_gaps > 0 { " (`streamer gaps` lists them)\n" } else { "\n" };
        text
    }
}

fn json_line(path: &Path, entry: &HourEntry, verdict: &HourVerdict, gaps: HourGaps) -> String {
    let mut line = json!({
        "stem": entry.stem.as_str(),
        "hour": entry.hour.start().to_string(),
        "path": path,
        "gaps": gaps.count,
        "gap_seconds": gaps.duration.as_secs_f64(),
    });
    // Plain numbers and texts: this cannot fail.
    if let (Value::Object(line), Ok(Value::Object(verdict))) =
        (&mut line, serde_json::to_value(verdict))
    {
        line.extend(verdict);
    }
    format!("{line}\n")
}

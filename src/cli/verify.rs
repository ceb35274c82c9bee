//! `streamer verify`: verifies every hour against its journal.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use tracing::warn;

use super::archive_args::ArchiveLocationArgs;
use super::archive_reader::{CoveredHour, available_cores};
use super::cli_error::CliError;
use super::output::{DeferredError, OutputFormat, print, print_json_line, print_message};
use super::progress::ProgressReporter;
use super::selection_args::{SelectionArgs, is_hour_in_range};
use super::stem_patterns::StemPatterns;
use crate::archive::file_name::FileKind;
use crate::archive::gaps::HourGaps;
use crate::archive::hour_entry::HourEntry;
use crate::archive::journal::sealed_records;
use crate::archive::progress::Progress;
use crate::archive::verify::{HourVerdict, verify_hours};
use crate::base::time::{Clock, SystemClock};
use crate::config::Config;
use crate::metrics::{Alert, AlertKind, AlertSubject};
use crate::recorder::hook::tell_findings;
use crate::registry::Registry;

/// Maximum number of hours of which the program of `on_event` is told.
const MAX_TOLD: usize = 100;

#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print one JSON object per line for each hour
    #[arg(long)]
    json: bool,
    /// Number of hours that are decoded at the same time; the default is the number of cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub(super) fn verify(
    args: &VerifyArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let format = OutputFormat::from_flag(args.json);
    let archive = args.location.reader(config, registry)?;
    let now = SystemClock.now();
    let range = args.selection.range(now)?;
    let mut hours = archive.read_coverage(now)?.hours;
    let known = hours.iter().map(|hour| (hour.dir, &hour.entry.stem));
    let patterns = StemPatterns::checked(&archive, &args.selection.stems, known)?;
    hours.retain(|hour| {
        is_hour_in_range(hour.entry.hour, range) && patterns.select(hour.dir, &hour.entry.stem)
    });
    let threads = args.threads.map_or(available_cores(), usize::from);
    let progress = Arc::new(Progress::default());
    let bar = ProgressReporter::start(&progress, hours.iter().map(raw_bytes).sum());
    let mut counts = Counts::default();
    let mut error = DeferredError::default();
    let mut findings = Vec::new();
    let gaps: HashMap<_, _> =
        hours.iter().map(|hour| ((hour.dir, hour.entry.clone()), hour.gaps)).collect();
    let hours = hours.into_iter().map(|hour| (hour.dir, hour.entry)).collect();
    let verified = verify_hours(hours, threads, now, &progress, |dir, entry, verdict| {
        let path = entry.path(dir, verified_file(&entry));
        let Some(gaps) = gaps.get(&(dir, entry.clone())).copied() else {
            error.record(Err(anyhow!("the gaps of `{}` are not known", path.display()).into()));
            return;
        };
        counts.add(&verdict, gaps);
        findings.extend(alert_of(&path, &verdict));
        let line = VerdictLine::new(&path, &entry, &verdict, gaps);
        bar.suspend(|| error.record(print_verdict(&line, format)));
    });
    bar.finish();
    error.into_result()?;
    verified.map_err(anyhow::Error::from)?;
    if format == OutputFormat::Text {
        print(&counts.summary())?;
        if counts.unrecorded > 0 {
            print_message(
                "Unrecorded hours were sealed by another program; `streamer archive` records their content in the journal.",
            );
        }
    }
    if !findings.is_empty() && args.location.uses_config() {
        tell_program(config, findings)?;
    }
    let failed = counts.bad + counts.unreadable > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the alert about an hour that is not as it was recorded.
fn alert_of(path: &Path, verdict: &HourVerdict) -> Option<Alert> {
    let (HourVerdict::Bad { reason } | HourVerdict::Unreadable { reason }) = verdict else {
        return None;
    };
    let subject = AlertSubject { kind: AlertKind::VerifyBad, pipeline: None, topic: None };
    Some(Alert { subject, detail: format!("{}: {reason}", path.display()) })
}

/// Tells the program of `on_event`, if the configuration has one that wants to know. Its failure is a
/// warning: the findings are printed.
fn tell_program(config: &Path, mut findings: Vec<Alert>) -> Result<(), CliError> {
    let on_event = Config::load_on_event(config)?;
    if let Some(on_event) = on_event.filter(|keys| keys.events.contains(&AlertKind::VerifyBad)) {
        findings.truncate(MAX_TOLD);
        if let Err(error) = tell_findings(&on_event, findings) {
            let program = on_event.command.name();
            warn!(program, %error, "the program of `on_event` failed");
        }
    }
    Ok(())
}

/// Returns the file of the hour that the verdict is about.
fn verified_file(entry: &HourEntry) -> FileKind {
    if entry.kinds().next().is_none() {
        return FileKind::Journal;
    }
    let is_unsealed =
        entry.file(FileKind::Lines).is_some() && entry.file(FileKind::Sealed).is_none();
    if is_unsealed { FileKind::Lines } else { FileKind::Sealed }
}

/// Prints a verdict: each one as JSON, only the failures as text.
fn print_verdict(line: &VerdictLine<'_>, format: OutputFormat) -> Result<(), CliError> {
    let path = line.path.display();
    match (format, line.verdict) {
        (OutputFormat::Json, _) => print_json_line(line),
        (_, HourVerdict::Bad { reason }) => print(&format!("BAD {path}: {reason}\n")),
        (_, HourVerdict::Unreadable { reason }) => print(&format!("UNREADABLE {path}: {reason}\n")),
        _ => Ok(()),
    }
}

/// Returns the number of bytes of lines to verify, as far as it is known.
fn raw_bytes(hour: &CoveredHour<'_>) -> u64 {
    let lines = hour.entry.file(FileKind::Lines).map_or(0, |file| file.bytes);
    let sealed =
        hour.entry.file(FileKind::Sealed).and_then(|_| sealed_records(&hour.journal).next_back());
    lines + sealed.map_or(0, |record| record.raw_bytes)
}

/// A verdict, as `--json` prints it.
#[derive(Serialize)]
struct VerdictLine<'a> {
    stem: &'a str,
    /// First second of the hour, RFC 3339.
    hour: String,
    path: &'a PathBuf,
    gaps: u64,
    gap_seconds: f64,
    #[serde(flatten)]
    verdict: &'a HourVerdict,
}

impl<'a> VerdictLine<'a> {
    fn new(
        path: &'a PathBuf,
        entry: &'a HourEntry,
        verdict: &'a HourVerdict,
        gaps: HourGaps,
    ) -> Self {
        Self {
            stem: entry.stem.as_str(),
            hour: entry.hour.start().to_string(),
            path,
            gaps: gaps.count,
            gap_seconds: gaps.duration.as_secs_f64(),
            verdict,
        }
    }
}

/// The number of hours by verdict.
#[derive(Default)]
struct Counts {
    intact: u64,
    unrecorded: u64,
    unsealed: u64,
    bad: u64,
    unreadable: u64,
    /// Hours without gaps, not counting bad and unreadable ones.
    complete: u64,
    /// Hours with gaps, not counting bad and unreadable ones.
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
        let coverage =
            if gaps.duration.is_zero() { &mut self.complete } else { &mut self.with_gaps };
        *coverage += 1;
    }

    fn summary(&self) -> String {
        let Self { intact, unrecorded, unsealed, bad, unreadable, messages, raw_bytes, .. } = self;
        let mut text = format!("{intact} hours intact");
        // Writing to a String cannot fail.
        for (count, label) in [
            (unrecorded, "intact but unrecorded"),
            (unsealed, "not sealed yet, with all their lines"),
            (unreadable, "unreadable"),
        ] {
            if *count > 0 {
                let _infallible = write!(text, ", {count} {label}");
            }
        }
        let _infallible = writeln!(text, ", {bad} bad; {messages} messages, {raw_bytes} bytes");
        let _infallible =
            write!(text, "{} hours complete, {} with gaps", self.complete, self.with_gaps);
        text += if self.with_gaps > 0 { " (`streamer gaps` lists them)\n" } else { "\n" };
        text
    }
}

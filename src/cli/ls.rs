//! `streamer ls`: lists the hours of the archive.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::archive_args::ArchiveLocationArgs;
use super::archive_reader::CoveredHour;
use super::cli_error::CliError;
use super::output::{OutputFormat, ignore_broken_pipe, print_message};
use super::selection_args::{SelectionArgs, is_hour_in_range};
use super::stem_patterns::StemPatterns;
use crate::archive::hour_summary::{HourState, HourSummary, summarize_hour};
use crate::archive::job::CompressionRatio;
use crate::base::time::{Clock, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print one JSON object per line for each hour
    #[arg(long)]
    json: bool,
}

/// An hour as a row of the table.
struct Row {
    label: String,
    summary: HourSummary,
}

pub(super) fn ls(args: &LsArgs, config: &Path, registry: &Registry) -> Result<ExitCode, CliError> {
    let archive = args.location.reader(config, registry)?;
    let now = SystemClock.now();
    let range = args.selection.range(now)?;
    let coverage = archive.read_coverage(now)?;
    coverage.print_ends();
    let known = coverage.hours.iter().map(|hour| (hour.dir, &hour.entry.stem));
    let patterns = StemPatterns::checked(&archive, &args.selection.stems, known)?;
    // An hour of which only a journal exists, without a record of lines, is no row.
    let selected = coverage.hours.iter().filter(|hour| {
        is_hour_in_range(hour.entry.hour, range) && patterns.select(hour.dir, &hour.entry.stem)
    });
    let rows = selected.filter_map(|hour| {
        let CoveredHour { dir, entry, journal, gaps } = hour;
        let summary = summarize_hour(dir, entry, journal, *gaps, now)?;
        Some(Row { label: archive.label(dir, &entry.stem), summary })
    });
    let rows: Vec<Row> = rows.collect();
    if coverage.hours.is_empty() {
        print_message(&archive.describe_absence());
    }
    ignore_broken_pipe(match OutputFormat::from_flag(args.json) {
        OutputFormat::Text => write_table(&rows),
        OutputFormat::Json => write_json(&rows),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_json(rows: &[Row]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for row in rows {
        serde_json::to_writer(&mut out, &row.summary)?;
        writeln!(out)?;
    }
    out.flush()
}

fn write_table(rows: &[Row]) -> io::Result<()> {
    let stem_width = rows.iter().map(|row| row.label.len()).max().unwrap_or(0).max(4);
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(
        out,
        "{:stem_width$}  {:14}  {:7}  {:>12}  {:>14}  {:>13}  {:>6}  {:>5}  {:>11}",
        "STEM",
        "HOUR (UTC)",
        "STATE",
        "MESSAGES",
        "RAW BYTES",
        "STORED BYTES",
        "RATIO",
        "GAPS",
        "GAP SECONDS"
    )?;
    for row in rows {
        writeln!(out, "{}", format_row(row, stem_width))?;
    }
    out.flush()
}

fn format_row(row: &Row, stem_width: usize) -> String {
    let Row { label, summary } = row;
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let ratio = match summary.raw_bytes {
        Some(raw) if summary.state == HourState::Sealed => {
            CompressionRatio { raw_bytes: raw, stored_bytes: summary.stored_bytes }.to_string()
        }
        _ => "-".to_owned(),
    };
    let gaps = match (summary.gaps, summary.unknown) {
        (0, _) => "-".to_owned(),
        (count, false) => count.to_string(),
        // A part of the hour has no journal, so there may be more gaps.
        (count, true) => format!("{count}?"),
    };
    let seconds =
        if summary.gaps == 0 { "-".to_owned() } else { format!("{:.1}", summary.gap_seconds) };
    format!(
        "{label:stem_width$}  {:14}  {:7}  {:>12}  {:>14}  {:>13}  {ratio:>6}  {gaps:>5}  {seconds:>11}",
        summary.hour.to_string(),
        summary.state,
        number(summary.messages),
        number(summary.raw_bytes),
        summary.stored_bytes,
    )
}

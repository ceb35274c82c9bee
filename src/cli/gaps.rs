//! `streamer gaps`: lists the times at which messages may be missing, with the causes.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::archive_args::ArchiveLocationArgs;
use super::archive_reader::{ArchiveCoverage, StemGap};
use super::cli_error::CliError;
use super::format::{HumanDuration, format_gap, gap_duration, gap_heading};
use super::gap_row::{GapRow, join_stems, rows_by_stem, wall_time};
use super::output::{OutputFormat, ignore_broken_pipe, print_message};
use super::selection_args::SelectionArgs;
use super::stem_patterns::StemPatterns;
use crate::archive::gaps::{Gap, GapKind};
use crate::base::time::{Clock, SystemClock, UnixNanos};
use crate::base::units::ConfigDuration;
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct GapsArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Leave out gaps that are shorter, such as `5s`
    #[arg(long, value_name = "DURATION")]
    min: Option<ConfigDuration>,
    /// Print a row per stem, also where stems share a gap
    #[arg(long)]
    each: bool,
    /// Exit with 1 if a gap is listed
    #[arg(long)]
    exit_code: bool,
    /// Print one JSON object per line for each gap
    #[arg(long)]
    json: bool,
}

pub(super) fn gaps(
    args: &GapsArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let archive = args.location.reader(config, registry)?;
    let now = SystemClock.now();
    let range = args.selection.range(now)?;
    let coverage = archive.read_coverage(now)?;
    coverage.print_ends();
    let ArchiveCoverage { hours, mut gaps, .. } = coverage;
    let known = hours.iter().map(|hour| (hour.dir, &hour.entry.stem));
    let patterns = StemPatterns::checked(&archive, &args.selection.stems, known)?;
    gaps.retain(|StemGap { dir, stem, gap }| {
        let ends_in_time =
            range.from.is_none_or(|from| gap.to.is_none_or(|end| end.max(gap.from) > from));
        let begins_in_time =
            range.to.is_none_or(|to| gap.from.min(gap.to.unwrap_or(gap.from)) < to);
        ends_in_time && begins_in_time && patterns.select(dir, stem)
    });
    if hours.is_empty() {
        print_message(&archive.describe_absence());
    }
    // A gap whose length is not known may be long.
    let min = args.min.map_or(Duration::ZERO, ConfigDuration::to_duration);
    let is_long = |gap: &Gap| gap.duration(now).is_none_or(|length| length >= min);
    let found = match OutputFormat::from_flag(args.json) {
        OutputFormat::Json => {
            gaps.retain(|found| is_long(&found.gap));
            ignore_broken_pipe(write_json(&gaps))?;
            gaps.len()
        }
        OutputFormat::Text => {
            let labeled =
                gaps.into_iter().map(|found| (archive.label(found.dir, &found.stem), found.gap));
            let mut rows = rows_by_stem(labeled);
            rows.retain(|row| is_long(&row.gap));
            let stem_time = rows.iter().filter(|row| row.gap.kind != GapKind::Stalled);
            let stem_time = stem_time.map(|row| gap_duration(&row.gap, now)).sum();
            let stems: BTreeSet<_> = rows.iter().flat_map(|row| row.stems.clone()).collect();
            let wall_time = wall_time(&rows, now);
            let rows = if args.each { rows } else { join_stems(rows) };
            ignore_broken_pipe(write_table(&rows, now))?;
            let mut text = summary(&rows, now);
            if stems.len() > 1 {
                text += &sums(stems.len(), wall_time, stem_time);
            }
            print_message(&text);
            rows.len()
        }
    };
    Ok(if args.exit_code && found > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the time without several stems: by the clock, and as the sum over the stems.
fn sums(stems: usize, wall_time: Duration, stem_time: Duration) -> String {
    let [wall_time, stem_time] = [wall_time, stem_time].map(HumanDuration);
    format!("; {stems} stems, {wall_time} of wall time, {stem_time} of stem time")
}

#[derive(Serialize)]
struct GapLine<'a> {
    stem: &'a str,
    dir: &'a Path,
    #[serde(flatten)]
    gap: &'a Gap,
}

fn write_json(gaps: &[StemGap<'_>]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for StemGap { dir, stem, gap } in gaps {
        serde_json::to_writer(&mut out, &GapLine { stem: stem.as_str(), dir, gap })?;
        writeln!(out)?;
    }
    out.flush()
}

fn write_table(rows: &[GapRow], now: UnixNanos) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let label = |row: &GapRow| match row.stems.first() {
        Some(stem) if row.stems.len() == 1 => stem.clone(),
        _ => format!("{} stems", row.stems.len()),
    };
    let stem_width = rows.iter().map(|row| label(row).len()).max().unwrap_or(0).max(4);
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "{:stem_width$}  {}", "STEM", gap_heading())?;
    for row in rows {
        writeln!(out, "{:stem_width$}  {}", label(row), format_gap(&row.gap, now))?;
    }
    out.flush()
}

/// Returns the number of gaps and their length, by kind.
fn summary(gaps: &[GapRow], now: UnixNanos) -> String {
    if gaps.is_empty() {
        return "no gaps".to_owned();
    }
    let kinds = [
        GapKind::NotRecorded,
        GapKind::Down,
        GapKind::NotRunning,
        GapKind::Dropped,
        GapKind::Stalled,
        GapKind::Unknown,
    ];
    let parts = kinds.into_iter().filter_map(|kind| {
        let of_kind = gaps.iter().map(|found| &found.gap).filter(|gap| gap.kind == kind);
        let total: Duration = of_kind.clone().map(|gap| gap_duration(gap, now)).sum();
        let count = of_kind.count();
        (count > 0).then(|| format!("{count} {kind} ({})", HumanDuration(total)))
    });
    let parts = parts.collect::<Vec<_>>().join(", ");
    let count = gaps.len();
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} gap{plural}: {parts}")
}

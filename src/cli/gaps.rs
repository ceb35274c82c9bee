//! `streamer gaps`: lists the times at which messages may be missing, with the causes.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::archive_args::ArchiveLocationArgs;
use super::archive_reader::{ArchiveReader, StemGap};
use super::cli_error::CliError;
use super::format::{HumanDuration, format_gap, gap_duration, gap_heading};
use super::output::{OutputFormat, ignore_broken_pipe, print_message};
use super::time_arg::{TimeArg, TimeRange};
use crate::archive::gaps::{Gap, GapKind};
use crate::base::time::{Clock, SystemClock, UnixNanos};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct GapsArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// Only gaps that end after this time: RFC 3339, a date, or a span such as `2h ago`
    #[arg(long, value_name = "TIME")]
    from: Option<TimeArg>,
    /// Only gaps that begin before this time
    #[arg(long, value_name = "TIME")]
    to: Option<TimeArg>,
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
    let range = TimeRange::resolve(args.from, args.to, now)?;
    let mut gaps = archive.read_coverage(now)?.gaps;
    gaps.retain(|StemGap { gap, .. }| {
        let ends_in_time =
            range.from.is_none_or(|from| gap.to.is_none_or(|end| end.max(gap.from) > from));
        let begins_in_time =
            range.to.is_none_or(|to| gap.from.min(gap.to.unwrap_or(gap.from)) < to);
        ends_in_time && begins_in_time
    });
    match OutputFormat::from_flag(args.json) {
        OutputFormat::Json => ignore_broken_pipe(write_json(&gaps))?,
        OutputFormat::Text => {
            ignore_broken_pipe(write_table(&archive, &gaps, now))?;
            print_message(&summary(&gaps, now));
        }
    }
    Ok(ExitCode::SUCCESS)
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

fn write_table(archive: &ArchiveReader, gaps: &[StemGap<'_>], now: UnixNanos) -> io::Result<()> {
    if gaps.is_empty() {
        return Ok(());
    }
    let label = |gap: &StemGap<'_>| archive.label(gap.dir, &gap.stem);
    let stem_width = gaps.iter().map(|gap| label(gap).len()).max().unwrap_or(0).max(4);
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "{:stem_width$}  {}", "STEM", gap_heading())?;
    for gap in gaps {
        writeln!(out, "{:stem_width$}  {}", label(gap), format_gap(&gap.gap, now))?;
    }
    out.flush()
}

/// Returns the number of gaps and their length, by kind.
fn summary(gaps: &[StemGap<'_>], now: UnixNanos) -> String {
    if gaps.is_empty() {
        return "no gaps".to_owned();
    }
    let kinds =
        [GapKind::Down, GapKind::NotRunning, GapKind::Dropped, GapKind::Stalled, GapKind::Unknown];
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

//! `streamer ls`: the hours.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::archive_args::{ArchiveLocationArgs, ListedHour};
use super::{CliError, ignore_broken_pipe};
use crate::archive::hour_summary::{HourState, HourSummary, summarize_hour};
use crate::archive::job::CompressionRatio;
use crate::base::time::{Clock, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// One JSON object a line for each hour
    #[arg(long)]
    json: bool,
}

pub(super) fn ls(args: &LsArgs, config: &Path, registry: &Registry) -> Result<ExitCode, CliError> {
    let place = args.location.resolve(config, registry)?;
    let now = SystemClock.now();
    let (hours, _) = place.read_coverage(now)?;
    let label = |listed: &ListedHour<'_>| place.label(listed.dir, &listed.entry.stem);
    let stem_width = hours.iter().map(|listed| label(listed).len()).max().unwrap_or(0).max(4);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = (|| {
        if !args.json {
            writeln!(out, "{}", header(stem_width))?;
        }
        for listed in &hours {
            let ListedHour { dir, entry, journal, gaps } = listed;
            let Some(row) = summarize_hour(dir, entry, journal, *gaps, now) else { continue };
            if args.json {
                serde_json::to_writer(&mut out, &row)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}", format_row(&row, &label(listed), stem_width))?;
            }
        }
        out.flush()
    })();
    ignore_broken_pipe(written)
}

fn header(stem_width: usize) -> String {
    format!(
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
    )
}

fn format_row(row: &HourSummary, label: &str, stem_width: usize) -> String {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let ratio = match row.raw_bytes {
        Some(raw) if row.state == HourState::Sealed => {
            CompressionRatio(raw, row.stored_bytes).to_string()
        }
        _ => "-".to_owned(),
    };
    let gaps = match (row.gaps, row.unknown) {
        (0, _) => "-".to_owned(),
        (count, false) => count.to_string(),
        // A journal does not tell.
        (count, true) => format!("{count}?"),
    };
    let seconds = if row.gaps == 0 { "-".to_owned() } else { format!("{:.1}", row.gap_seconds) };
    format!(
        "{:stem_width$}  {:14}  {:7}  {:>12}  {:>14}  {:>13}  {ratio:>6}  {gaps:>5}  {seconds:>11}",
        label,
        row.hour.to_string(),
        row.state,
        number(row.messages),
        number(row.raw_bytes),
        row.stored_bytes,
    )
}

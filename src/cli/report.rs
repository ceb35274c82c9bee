//! `streamer report`: shows the archive as a chart, hour by hour.

mod day;
mod grade;
mod hour_cell;
mod html;
mod report_totals;
mod stem_report;
mod terminal;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use self::stem_report::StemReport;
use self::terminal::ColorMode;
use super::archive_args::ArchiveLocationArgs;
use super::archive_reader::{ArchiveCoverage, StemGap};
use super::cli_error::CliError;
use super::output::{ignore_broken_pipe, print_message};
use super::path_arg::path_parser;
use super::selection_args::SelectionArgs;
use super::stem_patterns::StemPatterns;
use crate::archive::hour_summary::summarize_hour;
use crate::base::replace_file::replace_file;
use crate::base::time::{Clock, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Write one web page that needs no other file and no script
    #[arg(long, value_name = "FILE", value_parser = path_parser())]
    html: Option<PathBuf>,
}

pub(super) fn report(
    args: &ReportArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let archive = args.location.reader(config, registry)?;
    let now = SystemClock.now();
    let range = args.selection.range(now)?;
    let coverage = archive.read_coverage(now)?;
    coverage.print_ends();
    let ArchiveCoverage { mut hours, mut gaps, .. } = coverage;
    let known = hours.iter().map(|hour| (hour.dir, &hour.entry.stem));
    let patterns = StemPatterns::checked(&archive, &args.selection.stems, known)?;
    hours.retain(|hour| patterns.select(hour.dir, &hour.entry.stem));
    gaps.retain(|gap| patterns.select(gap.dir, &gap.stem));
    let mut reports: BTreeMap<String, StemReport> = BTreeMap::new();
    for hour in &hours {
        let report = reports.entry(archive.label(hour.dir, &hour.entry.stem)).or_default();
        if let Some(row) = summarize_hour(hour.dir, &hour.entry, &hour.journal, hour.gaps, now) {
            report.add_row(row);
        }
    }
    for StemGap { dir, stem, gap } in gaps {
        reports.entry(archive.label(dir, &stem)).or_default().add_gap(gap);
    }
    for report in reports.values_mut() {
        report.select_range(range, now);
    }
    reports.retain(|_, report| !report.is_empty());
    if let Some(file) = &args.html {
        let page = html::render_page(&reports, now);
        replace_file(file, page.as_bytes())
            .with_context(|| format!("cannot write the report to `{}`", file.display()))?;
        print_message(&format!("wrote {}", file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    let is_colored = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let color = if is_colored { ColorMode::Color } else { ColorMode::Plain };
    let text = terminal::render_text(&reports, now, color);
    ignore_broken_pipe(out.write_all(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

//! `streamer cat`: prints the lines of the archive, in the order of time.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::archive_args::ArchiveLocationArgs;
use super::archive_reader::LocatedHour;
use super::cli_error::CliError;
use super::output::{ignore_broken_pipe, print_message};
use super::selection_args::{SelectionArgs, is_hour_in_range};
use super::stem_patterns::StemPatterns;
use crate::archive::cat::{CatError, cat_hour};
use crate::archive::hour_entry::HourEntry;
use crate::archive::progress::Progress;
use crate::archive::verify::{HourVerdict, verify_hour};
use crate::base::error_chain::error_chain;
use crate::base::time::{Clock, SystemClock, UnixNanos};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct CatArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    #[command(flatten)]
    selection: SelectionArgs,
}

pub(super) fn cat(
    args: &CatArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let archive = args.location.reader(config, registry)?;
    let now = SystemClock.now();
    let range = args.selection.range(now)?;
    let hours = archive.hours()?;
    let known = hours.iter().map(|hour| (hour.dir, &hour.entry.stem));
    let patterns = StemPatterns::checked(&archive, &args.selection.stems, known)?;
    let is_selected = |hour: &LocatedHour<'_>| {
        is_hour_in_range(hour.entry.hour, range) && patterns.select(hour.dir, &hour.entry.stem)
    };
    let mut out = io::stdout().lock();
    let mut failed = false;
    for LocatedHour { dir, entry } in hours.iter().filter(|hour| is_selected(hour)) {
        if !entry.has_lines() {
            if let Some(reason) = find_lost_lines(dir, entry, now) {
                failed = true;
                print_message(&format!("error: `{}`: {reason}", entry.display_name()));
            }
            continue;
        }
        match cat_hour(dir, entry, now, &mut out) {
            Ok(()) => {}
            Err(CatError::Write(error)) => {
                ignore_broken_pipe(Err(error))?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => {
                // A damaged hour does not keep the others from being printed.
                failed = true;
                print_message(&format!("error: {}", error_chain(&error)));
            }
        }
    }
    ignore_broken_pipe(out.flush())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns what is wrong with an hour that has no lines, and should have some.
fn find_lost_lines(dir: &Path, entry: &HourEntry, now: UnixNanos) -> Option<String> {
    match verify_hour(dir, entry, now, &Progress::default()) {
        Ok(Some(HourVerdict::Bad { reason } | HourVerdict::Unreadable { reason })) => Some(reason),
        _ => None,
    }
}

//! `streamer cat`: prints the lines of the archive, in the order of time.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use super::archive_args::ArchiveLocationArgs;
use super::archive_reader::{ArchiveReader, LocatedHour};
use super::cli_error::CliError;
use super::output::{ignore_broken_pipe, print_message};
use super::time_arg::{TimeArg, TimeRange};
use crate::archive::cat::{CatError, cat_hour};
use crate::archive::hour_entry::HourEntry;
use crate::archive::progress::Progress;
use crate::archive::verify::{HourVerdict, verify_hour};
use crate::base::error_chain::error_chain;
use crate::base::suggest::did_you_mean;
use crate::base::time::{Clock, Hour, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct CatArgs {
    /// Stems, as `streamer ls` shows them, or topics; all stems by default
    stems: Vec<String>,
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// Start with the hour that contains this time: RFC 3339, a date, or a span such as `2h ago`
    #[arg(long, value_name = "TIME")]
    from: Option<TimeArg>,
    /// End with the last hour that begins before this time
    #[arg(long, value_name = "TIME")]
    to: Option<TimeArg>,
}

pub(super) fn cat(
    args: &CatArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let archive = args.location.reader(config, registry)?;
    let range = TimeRange::resolve(args.from, args.to, SystemClock.now())?;
    let first_hour = range.from.map(Hour::containing);
    let hours = archive.hours()?;
    for name in &args.stems {
        check_name(&archive, &hours, name)?;
    }
    let is_selected = |hour: &LocatedHour<'_>| {
        let has_name =
            args.stems.is_empty() || args.stems.iter().any(|name| is_named(&archive, hour, name));
        has_name
            && first_hour.is_none_or(|first| hour.entry.hour >= first)
            && range.to.is_none_or(|to| hour.entry.hour.start() < to)
    };
    let mut out = io::stdout().lock();
    let mut failed = false;
    for LocatedHour { dir, entry } in hours.iter().filter(|hour| is_selected(hour)) {
        if !entry.has_lines() {
            if let Some(reason) = find_lost_lines(dir, entry) {
                failed = true;
                print_message(&format!("error: `{}`: {reason}", entry.display_name()));
            }
            continue;
        }
        match cat_hour(dir, entry, &mut out) {
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
fn find_lost_lines(dir: &Path, entry: &HourEntry) -> Option<String> {
    match verify_hour(dir, entry, &Progress::default()) {
        Ok(Some(HourVerdict::Bad { reason } | HourVerdict::Unreadable { reason })) => Some(reason),
        _ => None,
    }
}

/// Returns whether `name` is the stem, the topic or the label of an hour.
fn is_named(archive: &ArchiveReader, hour: &LocatedHour<'_>, name: &str) -> bool {
    let stem = &hour.entry.stem;
    stem.as_str() == name
        || stem.to_topic().as_deref() == Some(name)
        || archive.label(hour.dir, stem) == name
}

/// Checks that `name` selects hours of exactly one stem.
fn check_name(
    archive: &ArchiveReader,
    hours: &[LocatedHour<'_>],
    name: &str,
) -> Result<(), CliError> {
    let named = hours.iter().filter(|hour| is_named(archive, hour, name));
    let labels: BTreeSet<_> = named.map(|hour| archive.label(hour.dir, &hour.entry.stem)).collect();
    match labels.len() {
        0 => {
            let hint = did_you_mean(name, hours.iter().map(|hour| hour.entry.stem.as_str()));
            Err(anyhow!("there is no hour of `{name}`{hint}; `streamer ls` lists the hours").into())
        }
        1 => Ok(()),
        _ => {
            let labels = Vec::from_iter(labels).join(", ");
            Err(anyhow!("`{name}` is in several directories; write one of {labels}").into())
        }
    }
}

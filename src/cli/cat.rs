//! `streamer cat`: the lines of the archive, in the order of time.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::archive_args::ArchiveLocationArgs;
use super::time_arg::{TimeArg, resolve_range};
use super::{CliError, ignore_broken_pipe, print_stderr};
use crate::archive::cat::{CatError, cat_hour};
use crate::archive::file_name::Stem;
use crate::base::error_chain::error_chain;
use crate::base::suggest::did_you_mean;
use crate::base::time::{Clock, Hour, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct CatArgs {
    /// Stems, as `streamer ls` shows them, or topics; all when there is none
    stems: Vec<String>,
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// From the hour in which this time lies: RFC 3339, a date, or a span such as `2h ago`
    #[arg(long, value_name = "TIME")]
    from: Option<TimeArg>,
    /// Up to the last hour that begins before this time
    #[arg(long, value_name = "TIME")]
    to: Option<TimeArg>,
}

pub(super) fn cat(
    args: &CatArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let place = args.location.resolve(config, registry)?;
    let now = SystemClock.now();
    let (from, to) = resolve_range(args.from, args.to, now)?;
    let from = from.map(Hour::containing);
    let hours = place.hours()?;
    let is = |name: &str, dir: &Path, stem: &Stem| {
        stem.as_str() == name
            || stem.to_topic().as_deref() == Some(name)
            || place.label(dir, stem) == name
    };
    for name in &args.stems {
        let of_name = hours.iter().filter(|(dir, entry)| is(name, dir, &entry.stem));
        let places: BTreeSet<_> =
            of_name.map(|(dir, entry)| place.label(dir, &entry.stem)).collect();
        if places.is_empty() {
            let known = hours.iter().map(|(_, entry)| entry.stem.as_str());
            let hint = did_you_mean(name, known);
            return Err(anyhow::anyhow!(
                "there is no hour of `{name}`{hint}; `streamer ls` shows what there is"
            )
            .into());
        }
        if places.len() > 1 {
            let places = Vec::from_iter(places).join(", ");
            return Err(anyhow::anyhow!(
                "`{name}` is in several directories; name one of {places}"
            )
            .into());
        }
    }
    let mut out = io::stdout().lock();
    let mut failed = false;
    for (dir, entry) in &hours {
        let wanted =
            args.stems.is_empty() || args.stems.iter().any(|name| is(name, dir, &entry.stem));
        let after = from.is_none_or(|from| entry.hour >= from);
        let before = to.is_none_or(|to| entry.hour.start() < to);
        if !(wanted && after && before && entry.has_lines()) {
            continue;
        }
        match cat_hour(dir, entry, &mut out) {
            Ok(()) => {}
            Err(CatError::Write(error)) => return ignore_broken_pipe(Err(error)),
            Err(error) => {
                // The other hours are worth having.
                failed = true;
                print_stderr(&format!("error: {}", error_chain(&error)));
            }
        }
    }
    if let code @ Err(_) = ignore_broken_pipe(out.flush()) {
        return code;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

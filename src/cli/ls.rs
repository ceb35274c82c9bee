//! `streamer ls`: the hours.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::place::PlaceArgs;
use super::{Failure, broken_pipe_is_success};
use crate::archive::directory::State;
use crate::archive::list::{Row, row};
use crate::clock::{Clock, SystemClock};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// One JSON object a line for each hour
    #[arg(long)]
    json: bool,
}

pub(super) fn ls(args: &LsArgs, config: &Path, registry: &Registry) -> Result<ExitCode, Failure> {
    let place = args.place.find(config, registry)?;
    let now = SystemClock.now();
    let hours = place.hours()?;
    let stem_width = hours.iter().map(|(_, entry)| entry.stem.as_str().len()).max().unwrap_or(0);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = (|| {
        if !args.json {
            writeln!(out, "{}", header(stem_width.max(4)))?;
        }
        for (dir, entry) in &hours {
            if !entry.has_lines() {
                continue;
            }
            let row = row(dir, entry, now);
            if args.json {
                serde_json::to_writer(&mut out, &row)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}", text(&row, stem_width.max(4)))?;
            }
        }
        out.flush()
    })();
    broken_pipe_is_success(written)
}

fn header(stem_width: usize) -> String {
    format!(
        "{:stem_width$}  {:14}  {:6}  {:>12}  {:>14}  {:>13}  {:>6}",
        "STEM", "HOUR (UTC)", "STATE", "MESSAGES", "RAW BYTES", "STORED BYTES", "RATIO"
    )
}

fn text(row: &Row, stem_width: usize) -> String {
    let state = match row.state {
        State::Open => "open",
        State::Closed => "closed",
        State::Sealed => "sealed",
    };
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let mut text = format!(
        "{:stem_width$}  {:14}  {state:6}  {:>12}  {:>14}  {:>13}",
        row.stem,
        row.hour.to_string(),
        number(row.messages),
        number(row.raw_bytes),
        row.stored_bytes
    );
    let ratio = match row.raw_bytes {
        Some(raw) if row.state == State::Sealed => {
            crate::archive::job::Ratio(raw, row.stored_bytes).to_string()
        }
        _ => "-".to_owned(),
    };
    // Writing to a String cannot fail.
    let _infallible = write!(text, "  {ratio:>6}");
    text
}

//! `streamer verify`: proves every sealed hour.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::bar::Bar;
use super::place::PlaceArgs;
use super::{Failure, print, words};
use crate::archive::directory::HourEntry;
use crate::archive::layout::Kind;
use crate::archive::list::raw_bytes;
use crate::archive::progress::Progress;
use crate::archive::verify::{Verdict, is_sealed, verify_all};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// One JSON object a line for each hour
    #[arg(long)]
    json: bool,
    /// How many hours are decoded at once; all cores without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub(super) fn verify(
    args: &VerifyArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, Failure> {
    let place = args.place.find(config, registry)?;
    let mut hours = place.hours()?;
    hours.retain(|(_, entry)| is_sealed(entry));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    let progress = Arc::new(Progress::default());
    let bytes = hours.iter().map(|(dir, entry)| raw_bytes(dir, entry).unwrap_or(0)).sum();
    let bar = Bar::start(&progress, bytes);
    let mut counts = Counts::default();
    verify_all(hours, threads, &progress, |dir, entry, verdict| {
        counts.add(&verdict);
        let path = entry.path(dir, Kind::Sealed);
        bar.around(|| {
            if args.json {
                drop(print(&json_line(&path, &entry, &verdict)));
            } else if let Verdict::Bad { reason } = &verdict {
                drop(print(&format!("BAD {}: {reason}\n", path.display())));
            } else if let Verdict::Unreadable { reason } = &verdict {
                drop(print(&format!("UNREADABLE {}: {reason}\n", path.display())));
            }
        });
    });
    bar.end();
    if args.json {
        // The lines are all there is.
    } else {
        print(&counts.text())?;
        if counts.unrecorded > 0 {
            words(
                "Unrecorded hours were sealed by another program; `streamer archive` records what they hold.",
            );
        }
    }
    Ok(if counts.bad + counts.unreadable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[derive(Default)]
struct Counts {
    intact: u64,
    unrecorded: u64,
    bad: u64,
    unreadable: u64,
    messages: u64,
    raw_bytes: u64,
}

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Intact { messages, raw_bytes } => {
                self.intact += 1;
                self.messages += messages;
                self.raw_bytes += raw_bytes;
            }
            Verdict::Unrecorded { messages, raw_bytes } => {
                self.unrecorded += 1;
                self.messages += messages;
                self.raw_bytes += raw_bytes;
            }
            Verdict::Unreadable { .. } => self.unreadable += 1,
            Verdict::Bad { .. } => self.bad += 1,
        }
    }

    fn text(&self) -> String {
        let Self { intact, unrecorded, bad, unreadable, messages, raw_bytes } = self;
        let mut text = format!("{intact} hours intact");
        // Writing to a String cannot fail.
        if *unrecorded > 0 {
            let _infallible = write!(text, ", {unrecorded} whole but unrecorded");
        }
        if *unreadable > 0 {
            let _infallible = write!(text, ", {unreadable} unreadable");
        }
        let _infallible = writeln!(text, ", {bad} bad; {messages} messages, {raw_bytes} bytes");
        text
    }
}

fn json_line(path: &Path, entry: &HourEntry, verdict: &Verdict) -> String {
    let mut line = json!({
        "stem": entry.stem.as_str(),
        "hour": entry.hour.start().to_string(),
        "path": path,
    });
    // Plain numbers and texts: this cannot fail.
    if let (Value::Object(line), Ok(Value::Object(verdict))) =
        (&mut line, serde_json::to_value(verdict))
    {
        line.extend(verdict);
    }
    format!("{line}\n")
}

//! The injected faults and the events of a journal, side by side.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::discrepancy::Discrepancy;
use super::fault_log::FaultLog;
use super::format_time;
use super::run_clocks::RunClocks;
use super::timeline_line::TimelineLine;

/// Nanoseconds that are shown before and after a discrepancy.
const MARGIN: u64 = 2_000_000_000;
/// The keys of journal events that are shown.
const SHOWN: [&str; 9] =
    ["connection", "cause", "topic", "since", "messages", "shared", "bytes", "lost", "connected"];

/// The events around a discrepancy, in the order of time.
#[derive(Debug)]
pub(super) struct Timeline {
    lines: Vec<TimelineLine>,
}

impl Timeline {
    /// Collects what is in the log of faults and in the journals of the stem.
    pub(super) fn around(
        discrepancy: &Discrepancy,
        log: &FaultLog,
        clocks: &RunClocks,
        dir: &Path,
    ) -> Result<Self> {
        let range = discrepancy.from.saturating_sub(MARGIN)..discrepancy.to.saturating_add(MARGIN);
        let mut lines = log.lines();
        let prefix = format!("{}_", discrepancy.stem);
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(&prefix) && name.ends_with(".journal") {
                let journal = fs::read_to_string(&path)?;
                lines.extend(journal.lines().filter_map(|line| describe_event(line, clocks)));
            }
        }
        lines.retain(|line| range.contains(&line.time));
        lines.sort_by_key(|line| line.time);
        Ok(Self { lines })
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TimelineLine { time, text } in &self.lines {
            write!(f, "\n    {} {text}", format_time(*time))?;
        }
        Ok(())
    }
}

fn describe_event(line: &str, clocks: &RunClocks) -> Option<TimelineLine> {
    let event: Value = serde_json::from_str(line).ok()?;
    let real = |time| clocks.real_time(time).unwrap_or(time);
    let time = real(event.get("t")?.as_u64()?);
    let mut text = format!("journal: {}", event.get("event")?.as_str()?);
    for key in SHOWN {
        let Some(value) = event.get(key) else { continue };
        let value = match value.as_u64().filter(|_| key == "since") {
            Some(since) => format_time(real(since)),
            None => value.to_string(),
        };
        text.extend([" ", key, "=", &value]);
    }
    Some(TimelineLine { time, text })
}

//! A gap as `streamer gaps` tells it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::DateTime;
use serde_json::Value;

use super::run_clocks::RunClocks;

/// Nanoseconds that the times of `streamer gaps` leave out.
const RESOLUTION: u64 = 1_000_000;

/// The most by which a told length may be wrong.
const LENGTH_TOLERANCE: Duration = Duration::from_millis(100);

/// One line of `streamer gaps --json`.
#[derive(Debug, Clone)]
pub(super) struct ToldGap {
    pub(super) stem: String,
    /// Start in Unix nanoseconds.
    pub(super) from: u64,
    /// Length in seconds, if it is told.
    pub(super) seconds: Option<f64>,
    /// End in Unix nanoseconds; the largest number while the gap lasts.
    pub(super) to: u64,
    pub(super) kind: String,
    pub(super) cause: String,
    pub(super) certainty: String,
    /// Number of messages that the gap names.
    pub(super) messages: Option<u64>,
    /// The topic that the gap concerns, if it concerns one of several in a file.
    pub(super) topic: Option<String>,
}

impl ToldGap {
    /// Returns the gap that a line tells; `None` for the time before the recording began, in which
    /// nothing is missing. Times are converted to real ones.
    pub(super) fn parse(line: &str, clocks: &RunClocks) -> Result<Option<Self>> {
        let gap: Value = serde_json::from_str(line)?;
        if gap.get("kind").and_then(Value::as_str) == Some("not_recorded") {
            return Ok(None);
        }
        let text = |key: &str| {
            let value = gap.get(key).and_then(Value::as_str);
            value.map(str::to_owned).with_context(|| format!("a gap without `{key}`: {line}"))
        };
        let to = match gap.get("to").and_then(Value::as_str) {
            // Where no recorder runs, the last gap ends with the hour, if that is over.
            Some(to) if to.ends_with(":00:00.000Z") => {
                real_time(to, clocks).map_or(u64::MAX, |to| to + RESOLUTION)
            }
            Some(to) => real_time(to, clocks)? + RESOLUTION,
            None => u64::MAX,
        };
        let detail = text("detail")?;
        let topic = detail.strip_prefix("topic ").and_then(|rest| rest.split(':').next());
        Ok(Some(Self {
            stem: text("stem")?,
            from: real_time(&text("from")?, clocks)?,
            seconds: gap.get("seconds").and_then(Value::as_f64),
            to,
            kind: text("kind")?,
            cause: text("cause")?,
            certainty: text("certainty")?,
            messages: gap.get("messages").and_then(Value::as_u64),
            topic: topic.map(str::to_owned),
        }))
    }

    /// Returns whether the gap is one of this topic in the files of this stem.
    pub(super) fn concerns(&self, stem: &str, topic: &str) -> bool {
        self.stem == stem && self.topic.as_deref().is_none_or(|own| own == topic)
    }

    /// Returns whether a time lies in the gap, or this near to it.
    pub(super) fn covers(&self, time: u64, tolerance: u64) -> bool {
        time.saturating_add(tolerance) >= self.from && time <= self.to.saturating_add(tolerance)
    }

    /// Returns whether a time lies in the gap, further than this from its ends.
    pub(super) fn contains(&self, time: u64, distance: u64) -> bool {
        time > self.from.saturating_add(distance) && time.saturating_add(distance) < self.to
    }

    /// Returns whether the length that is told is not the time from start to end.
    pub(super) fn has_wrong_length(&self) -> bool {
        let told = self.seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
        let real = Duration::from_nanos(self.to.saturating_sub(self.from));
        self.to != u64::MAX && told.is_some_and(|told| told.abs_diff(real) > LENGTH_TOLERANCE)
    }

    /// Returns whether perhaps nothing is missing in the gap.
    pub(super) fn is_possible(&self) -> bool {
        self.certainty == "possible"
    }

    /// Returns whether both ends of the gap are said to be exact. A drop is exact in its number.
    pub(super) fn is_measured(&self) -> bool {
        self.certainty == "exact" && self.kind != "dropped"
    }

    /// Returns what the table of causes calls the gap.
    pub(super) fn label(&self) -> String {
        format!("{} {} {}", self.kind, self.cause, self.certainty)
    }
}

impl fmt::Display for ToldGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = if self.to == u64::MAX { "now".to_owned() } else { super::format_time(self.to) };
        write!(f, "{} {}..{to} {}", self.stem, super::format_time(self.from), self.label())?;
        if let Some(topic) = &self.topic {
            write!(f, ", topic {topic}")?;
        }
        if let Some(messages) = self.messages {
            write!(f, ", {messages} messages")?;
        }
        Ok(())
    }
}

/// Returns the real time at which a run showed a time.
fn real_time(text: &str, clocks: &RunClocks) -> Result<u64> {
    let shown = parse_time(text)?;
    clocks.real_time(shown).with_context(|| format!("a gap at {text}, which no run had"))
}

fn parse_time(text: &str) -> Result<u64> {
    let time = DateTime::parse_from_rfc3339(text).with_context(|| format!("the time `{text}`"))?;
    let nanos = time.timestamp_nanos_opt().context("a time beyond the years")?;
    Ok(u64::try_from(nanos)?)
}

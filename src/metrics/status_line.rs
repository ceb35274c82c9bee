//! The status line.

use std::fmt;

use super::snapshot::{PipelineSnapshot, Snapshot};

/// Time from which on a topic that is not confirmed, or the first connect, is worth a word.
const PATIENCE_SECONDS: u64 = 30;

/// Formats the status line: `Uptime: 12m34s | Total Msgs: 152340 | Rate: 7260.12 msg/min`. What is
/// wrong follows; with several pipelines each of them then has a line.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uptime = ShortTime(self.uptime_seconds);
        write!(f, "Uptime: {uptime} | ")?;
        write_counts(f, &self.total)?;
        let archive = self.archive.as_ref().filter(|archive| archive.is_failing);
        if self.pipelines.len() <= 1 {
            for reason in self.total.reasons() {
                write!(f, " | {reason}")?;
            }
        }
        if let Some(archive) = archive {
            let failure = archive.last_failure.as_deref().unwrap_or_default();
            write!(f, " | archive job FAILED: {failure}")?;
        }
        if self.pipelines.len() > 1 && self.pipelines.values().any(|one| !one.reasons().is_empty())
        {
            for (name, pipeline) in &self.pipelines {
                write!(f, "\n  {name}: ")?;
                write_counts(f, pipeline)?;
                for reason in pipeline.reasons() {
                    write!(f, " | {reason}")?;
                }
            }
        }
        Ok(())
    }
}

impl Snapshot {
    /// Returns the status line with the lines of the pipelines behind it.
    pub(crate) fn to_single_line(&self) -> String {
        self.to_string().replace("\n  ", " | ")
    }

    /// Returns whether something is wrong that the status line tells.
    pub(crate) fn has_trouble(&self) -> bool {
        self.pipelines.values().any(|pipeline| !pipeline.reasons().is_empty())
            || self.archive.as_ref().is_some_and(|archive| archive.is_failing)
    }
}

fn write_counts(f: &mut fmt::Formatter<'_>, pipeline: &PipelineSnapshot) -> fmt::Result {
    let messages = pipeline.messages;
    let rate = pipeline.rate_per_minute;
    write!(f, "Total Msgs: {messages} | Rate: {rate:.2} msg/min")
}

impl PipelineSnapshot {
    /// Returns what is wrong with the pipeline, each in a few words.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        reasons.extend(self.outage_reason());
        if let Some(stall) = &self.stall {
            let seconds = ShortTime(stall.seconds);
            let is_full = stall.error.contains("No space left on device");
            let full = if is_full { "disk full: " } else { "" };
            reasons.push(format!("STALLED {seconds}: {full}{}", stall.error));
        }
        let topics = &self.topics;
        let wanted = topics.wanted;
        if topics.refused > 0 {
            reasons.push(format!("{} of {wanted} topics refused", topics.refused));
        }
        let unconfirmed = wanted - topics.confirmed - topics.refused;
        if unconfirmed > 0 && self.connected_seconds >= PATIENCE_SECONDS {
            reasons.push(format!("{unconfirmed} of {wanted} topics unconfirmed"));
        }
        if let Some(silent) = self.silent_seconds {
            reasons.push(format!("no data for {}", ShortTime(silent)));
        } else if topics.silent > 0 {
            reasons.push(format!("{} of {wanted} topics silent", topics.silent));
        }
        reasons.extend(self.feed_warning.as_ref().map(|warning| format!("Warning: {warning}")));
        reasons
    }

    fn outage_reason(&self) -> Option<String> {
        let outage = self.outage.as_ref()?;
        // The first connect is under way.
        let cause = match &outage.cause {
            Some(cause) => format!(": {cause}"),
            None if outage.seconds < PATIENCE_SECONDS => return None,
            None => String::new(),
        };
        let parts = if outage.parts < outage.of_parts {
            format!(" ({} of {} connections)", outage.parts, outage.of_parts)
        } else {
            String::new()
        };
        let next = outage.next_connect_seconds.map(|next| format!(" (next try in {next}s)"));
        let seconds = ShortTime(outage.seconds);
        let next = next.unwrap_or_default();
        Some(format!("DISCONNECTED for {seconds}{parts}{cause}{next}"))
    }
}

/// A number of seconds, formatted as `59s`, `12m34s` or `26h0m3s`.
pub(super) struct ShortTime(pub(super) u64);

impl fmt::Display for ShortTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.0 / 3600;
        let minutes = self.0 / 60 % 60;
        let seconds = self.0 % 60;
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, _) => write!(f, "{minutes}m{seconds}s"),
            _ => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Outage, SinkStall, TopicStatus};

    #[test]
    fn uptime_grows_from_seconds_to_hours() {
        assert_eq!(ShortTime(0).to_string(), "0s");
        assert_eq!(ShortTime(59).to_string(), "59s");
        assert_eq!(ShortTime(60).to_string(), "1m0s");
        assert_eq!(ShortTime(26 * 3600 + 3).to_string(), "26h0m3s");
    }

    #[test]
    fn each_trouble_has_its_words() {
        let outage = |parts, cause: Option<&str>, next| {
            let cause = cause.map(str::to_owned);
            Some(Outage { parts, of_parts: 2, seconds: 23, cause, next_connect_seconds: next })
        };
        let words = |pipeline: PipelineSnapshot| pipeline.reasons().join(" | ");
        let one = PipelineSnapshot::default;
        let refused = Some("connect refused");
        for (pipeline, expected) in [
            (one(), ""),
            (PipelineSnapshot { outage: outage(2, None, None), ..one() }, ""),
            (
                PipelineSnapshot { outage: outage(2, refused, Some(6)), ..one() },
                "DISCONNECTED for 23s: connect refused (next try in 6s)",
            ),
            (
                PipelineSnapshot { outage: outage(1, refused, None), ..one() },
                "DISCONNECTED for 23s (1 of 2 connections): connect refused",
            ),
            (PipelineSnapshot { silent_seconds: Some(720), ..one() }, "no data for 12m0s"),
        ] {
            assert_eq!(words(pipeline), expected);
        }
        let error = "cannot write: No space left on device (os error 28)".to_owned();
        let stall = SinkStall { sink: "a".to_owned(), error, seconds: 4 };
        let topics = TopicStatus { wanted: 200, confirmed: 197, refused: 3, ..Default::default() };
        assert_eq!(
            words(PipelineSnapshot { stall: Some(stall), topics, ..one() }),
            "STALLED 4s: disk full: cannot write: No space left on device (os error 28) | 3 of 200 \
             topics refused"
        );
    }
}

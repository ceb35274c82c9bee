//! The status line.

use std::fmt;

use super::short_time::ShortTime;
use super::snapshot::{PipelineSnapshot, Snapshot};

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

fn write_counts(f: &mut fmt::Formatter<'_>, pipeline: &PipelineSnapshot) -> fmt::Result {
    let messages = pipeline.messages;
    let rate = pipeline.rate_per_minute;
    write!(f, "Total Msgs: {messages} | Rate: {rate:.2} msg/min")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Outage, SinkStall, TopicStatus};

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

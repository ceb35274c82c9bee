//! The ticks that were sent while a gap lasted.

use super::recording::Recording;
use super::setup::Setup;
use super::tick::Tick;
use super::told_gap::ToldGap;
use super::truth::Truth;
use super::{TOLERANCE, format_time};

/// The ticks of a gap's topics in the time of the gap. All times are Unix nanoseconds.
#[derive(Debug, Default)]
pub(super) struct GapContent {
    /// Number of the topics that the gap concerns.
    topics: u32,
    /// The start of the gap, or the first tick that counts.
    from: u64,
    /// The end of the gap, or the last tick.
    to: u64,
    /// The longest time between two ticks of a topic.
    spacing: u64,
    /// Time of the missing ticks, over all topics.
    missing_time: u64,
    first_missing: Option<u64>,
    /// The end of the last missing tick.
    last_missing: Option<u64>,
    /// Number of recorded ticks that do not lie at the ends of the gap.
    recorded_inside: u64,
}

impl GapContent {
    /// Returns what was sent in a gap; `None` for a file that has no ticks.
    pub(super) fn new(
        setup: Setup,
        truth: &Truth,
        recording: &Recording,
        gap: &ToldGap,
    ) -> Option<Self> {
        let mut content = Self { from: u64::MAX, ..Self::default() };
        for (index, topic) in truth.topics.iter().enumerate() {
            if !gap.concerns(&setup.stem(index), &Tick::topic_name(index)) {
                continue;
            }
            let counted = topic.sent.iter().enumerate().skip(topic.first_counted());
            content.topics += u32::from(counted.len() > 0);
            for (number, sent) in counted {
                content.from = content.from.min(*sent);
                content.to = content.to.max(*sent);
                let spacing = topic.spacing(number);
                if !gap.covers(*sent, TOLERANCE) {
                    // A server that was late made no tick at the start of the gap.
                    if *sent < gap.from && gap.covers(*sent + spacing, TOLERANCE) {
                        content.spacing = content.spacing.max(spacing);
                    }
                    continue;
                }
                content.spacing = content.spacing.max(spacing);
                if recording.contains(index, number) {
                    let is_inside = gap.contains(*sent, TOLERANCE + spacing);
                    content.recorded_inside += u64::from(is_inside);
                } else {
                    content.add_missing(*sent, spacing);
                }
            }
        }
        (content.from, content.to) = (
            gap.from.clamp(content.from, content.from.max(content.to)),
            gap.to.clamp(content.from.min(content.to), content.to),
        );
        (content.topics > 0).then_some(content)
    }

    /// Returns the seconds that the gap tells.
    pub(super) fn told(&self) -> f64 {
        seconds(self.to.saturating_sub(self.from))
    }

    /// Returns the seconds that are missing, on average over the topics.
    pub(super) fn missing(&self) -> f64 {
        seconds(self.missing_time) / f64::from(self.topics)
    }

    /// Returns why the gap is longer than what is missing, if it is.
    pub(super) fn describe_excess(&self) -> Option<String> {
        let slack = TOLERANCE + self.spacing;
        let (Some(first), Some(last)) = (self.first_missing, self.last_missing) else {
            let is_short = self.to.saturating_sub(self.from) <= 2 * slack;
            return (!is_short).then(|| "nothing is missing".to_owned());
        };
        if self.from + slack < first || last + slack < self.to {
            return Some(format!("missing {}..{}", format_time(first), format_time(last)));
        }
        // Files of several topics have a gap until all topics come.
        if self.topics == 1 && self.recorded_inside > 0 {
            return Some(format!("{} ticks in it are recorded", self.recorded_inside));
        }
        None
    }

    fn add_missing(&mut self, sent: u64, spacing: u64) {
        self.missing_time += spacing;
        self.first_missing = Some(self.first_missing.map_or(sent, |first| first.min(sent)));
        self.last_missing = self.last_missing.max(Some(sent + spacing));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a float has room for a day of nanoseconds")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

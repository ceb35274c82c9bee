//! The comparison of what the archive tells with what was sent.

use super::cause_table::CauseTable;
use super::recording::Recording;
use super::setup::Setup;
use super::tick::Tick;
use super::told_gap::ToldGap;
use super::topic_truth::TopicTruth;
use super::truth::Truth;
use super::{TOLERANCE, format_time};

/// The number of gaps that are shown before and after ticks outside of all gaps.
const NEAR_GAPS: usize = 2;

/// What was found in one scenario, or in several.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Ticks that were made and count.
    pub(super) made: u64,
    pub(super) missing: u64,
    /// Missing ticks that lie in no gap.
    pub(super) outside: u64,
    /// Ticks that two connections brought and that were written twice.
    pub(super) doubled: u64,
    /// What is wrong, in words.
    pub(super) faults: Vec<String>,
    pub(super) table: CauseTable,
}

impl Comparison {
    /// Compares the gaps of an archive and its lines with the truth.
    pub(super) fn new(setup: Setup, truth: &Truth, recording: Recording, gaps: &[ToldGap]) -> Self {
        let mut comparison = Self::default();
        for (index, topic) in truth.topics.iter().enumerate() {
            comparison.compare_topic(setup, index, topic, &recording, gaps);
        }
        for gap in gaps {
            comparison.compare_gap(setup, truth, &recording, gap);
        }
        comparison.doubled = recording.doubled;
        comparison.faults.extend(recording.faults);
        comparison
    }

    /// Adds what was found in another scenario, except for its faults in words.
    pub(super) fn merge(&mut self, other: &Self) {
        self.made += other.made;
        self.missing += other.missing;
        self.outside += other.outside;
        self.doubled += other.doubled;
        self.table.merge(&other.table);
    }

    fn compare_topic(
        &mut self,
        setup: Setup,
        index: usize,
        topic: &TopicTruth,
        recording: &Recording,
        gaps: &[ToldGap],
    ) {
        let (stem, name) = (setup.stem(index), Tick::topic_name(index));
        let own: Vec<_> = gaps.iter().filter(|gap| gap.concerns(&stem, &name)).collect();
        let mut outside = Vec::new();
        for (number, sent) in topic.sent.iter().enumerate().skip(topic.first_counted()) {
            self.made += 1;
            if recording.contains(index, number) {
                continue;
            }
            self.missing += 1;
            if !own.iter().any(|gap| gap.covers(*sent, TOLERANCE)) {
                outside.push(number);
            }
        }
        self.outside += outside.len() as u64;
        for range in outside.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(first), Some(last)) = (range.first(), range.last()) {
                self.faults.push(describe_outside(&name, topic, *first, *last, &own));
            }
        }
    }

    fn compare_gap(&mut self, setup: Setup, truth: &Truth, recording: &Recording, gap: &ToldGap) {
        let mut topics = 0_u32;
        let mut missing_nanos = 0;
        let mut first_missing = u64::MAX;
        let mut last_missing = 0;
        let mut spacing = 0;
        let mut begin = u64::MAX;
        let mut end = 0;
        for (index, topic) in truth.topics.iter().enumerate() {
            let (stem, name) = (setup.stem(index), Tick::topic_name(index));
            let counted = topic.sent.iter().enumerate().skip(topic.first_counted());
            let Some((_, first)) = counted.clone().next() else { continue };
            if !gap.concerns(&stem, &name) {
                continue;
            }
            topics += 1;
            begin = begin.min(*first);
            for (number, sent) in counted {
                end = end.max(*sent);
                if gap.covers(*sent, TOLERANCE) {
                    spacing = spacing.max(topic.spacing(number));
                    if !recording.contains(index, number) {
                        missing_nanos += topic.spacing(number);
                        first_missing = first_missing.min(*sent);
                        last_missing = last_missing.max(*sent + topic.spacing(number));
                    }
                }
            }
        }
        // Files of answers have no ticks.
        if topics == 0 {
            return;
        }
        let (from, to) = (gap.from.clamp(begin, end), gap.to.clamp(begin, end));
        let told = seconds(to.saturating_sub(from));
        self.table.row(gap.label()).add(told, seconds(missing_nanos) / f64::from(topics));
        let slack = TOLERANCE + spacing;
        let is_too_long = if last_missing == 0 {
            to.saturating_sub(from) > 2 * slack
        } else {
            from + slack < first_missing || last_missing + slack < to
        };
        let is_measured = gap.certainty == "exact" && gap.kind != "dropped";
        if is_measured && is_too_long {
            let missing = if last_missing == 0 {
                "nothing is missing".to_owned()
            } else {
                format!("missing {}..{}", format_time(first_missing), format_time(last_missing))
            };
            self.faults.push(format!("an exact gap that is too long: {gap}\n    {missing}"));
        }
    }
}

fn describe_outside(
    name: &str,
    topic: &TopicTruth,
    first: usize,
    last: usize,
    gaps: &[&ToldGap],
) -> String {
    let time = |number: usize| topic.sent.get(number).copied().unwrap_or_default();
    let (from, to) = (time(first), time(last));
    let mut text = format!(
        "{} ticks outside of all gaps: {name} {first}..={last}, {}..{}",
        last - first + 1,
        format_time(from),
        format_time(to),
    );
    let earlier = gaps.iter().filter(|gap| gap.to < from).rev().take(NEAR_GAPS);
    let later = gaps.iter().filter(|gap| gap.to >= from).take(NEAR_GAPS);
    text.extend(earlier.chain(later).map(|gap| format!("\n    gap {gap}")));
    text
}

#[expect(clippy::cast_precision_loss, reason = "a float has room for a day of nanoseconds")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

//! The comparison of what the archive tells with what was sent.

use super::cause_table::CauseTable;
use super::discrepancy::Discrepancy;
use super::gap_content::GapContent;
use super::recording::Recording;
use super::setup::Setup;
use super::tick::Tick;
use super::told_gap::ToldGap;
use super::topic_truth::TopicTruth;
use super::truth::Truth;
use super::{TOLERANCE, format_time};

/// The number of gaps that are shown before and after ticks outside of all gaps.
const NEAR_GAPS: usize = 2;

/// The findings in one scenario, or in several.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Ticks that were made and count.
    pub(super) made: u64,
    pub(super) missing: u64,
    /// Missing ticks that lie in no gap.
    pub(super) outside: u64,
    /// Missing ticks that lie only in gaps in which perhaps nothing is missing.
    pub(super) only_possible: u64,
    /// Ticks that two connections brought and that were written twice.
    pub(super) doubled: u64,
    /// The discrepancies, in words.
    pub(super) discrepancies: Vec<Discrepancy>,
    pub(super) table: CauseTable,
}

impl Comparison {
    /// Returns the outcome of a scenario that could not be carried out.
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        let discrepancies = vec![Discrepancy::of_lines("", format!("{error:#}"))];
        Self { discrepancies, ..Self::default() }
    }

    /// Compares the gaps of an archive and its lines with the truth.
    pub(super) fn new(setup: Setup, truth: &Truth, recording: Recording, gaps: &[ToldGap]) -> Self {
        let mut comparison = Self::default();
        for (index, topic) in truth.topics.iter().enumerate() {
            comparison.compare_topic(setup, index, topic, &recording, gaps);
        }
        for gap in gaps {
            if let Some(content) = GapContent::new(setup, truth, &recording, gap) {
                comparison.compare_gap(gap, &content);
            }
        }
        comparison.doubled = recording.doubled;
        comparison.discrepancies.extend(recording.discrepancies);
        comparison
    }

    /// Adds what was found in another scenario, except for its discrepancies.
    pub(super) fn merge(&mut self, other: &Self) {
        self.made += other.made;
        self.missing += other.missing;
        self.outside += other.outside;
        self.only_possible += other.only_possible;
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
            let mut covering = own.iter().filter(|gap| gap.covers(*sent, TOLERANCE)).peekable();
            if covering.peek().is_none() {
                outside.push(number);
            } else if covering.all(|gap| gap.is_possible()) {
                self.only_possible += 1;
            }
        }
        self.outside += outside.len() as u64;
        for range in outside.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(first), Some(last)) = (range.first(), range.last()) {
                let time = |number: usize| topic.sent.get(number).copied().unwrap_or_default();
                self.discrepancies.push(Discrepancy {
                    text: describe_outside(&name, topic, *first, *last, &own),
                    stem: stem.clone(),
                    from: time(*first),
                    to: time(*last),
                });
            }
        }
    }

    fn compare_gap(&mut self, gap: &ToldGap, content: &GapContent) {
        self.table.row(gap.label()).add(content.told(), content.missing());
        if gap.has_wrong_length() {
            let text = format!("a gap whose length is told as {:?} s: {gap}", gap.seconds);
            let (stem, from, to) = (gap.stem.clone(), gap.from, gap.to);
            self.discrepancies.push(Discrepancy { text, stem, from, to });
        }
        if !gap.is_measured() {
            return;
        }
        if let Some(excess) = content.describe_excess() {
            self.discrepancies.push(Discrepancy {
                text: format!("an exact gap that is too long: {gap}\n    {excess}"),
                stem: gap.stem.clone(),
                from: gap.from,
                to: gap.to,
            });
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

#[cfg(test)]
mod tests;

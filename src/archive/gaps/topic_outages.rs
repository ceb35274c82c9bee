//! The topics of a journal that deliver nothing while its other topics do.

use std::collections::BTreeMap;

use super::certainty::Certainty;
use super::gap::Gap;
use super::gap_cause::GapCause;
use super::gap_kind::GapKind;
use super::gap_length::GapLength;
use crate::base::time::UnixNanos;

/// The start of a topic's outage.
#[derive(Debug)]
pub(super) struct TopicOutage<'a> {
    pub(super) topic: &'a str,
    pub(super) cause: &'a str,
    pub(super) detail: &'a str,
    pub(super) since: UnixNanos,
    pub(super) certainty: Certainty,
}

/// The outages that are open, by topic.
#[derive(Debug, Default)]
pub(super) struct TopicOutages {
    /// Topics whose messages these journals cover. Other topics of the run have their own journals.
    journaled_topics: Vec<String>,
    open_gaps: BTreeMap<String, Gap>,
}

impl TopicOutages {
    /// Takes the topics of an `open` event, and starts and ends outages as it lists them.
    pub(super) fn on_open(
        &mut self,
        t: UnixNanos,
        topics: &[String],
        topics_down: &[String],
        gaps: &mut Vec<Gap>,
    ) {
        self.journaled_topics = topics.to_vec();
        self.end_matching(t, |topic| !topics_down.iter().any(|down| down == topic), gaps);
        for topic in topics_down {
            self.start(&TopicOutage {
                topic,
                cause: GapCause::Other.as_str(),
                detail: "",
                since: t,
                certainty: Certainty::Exact,
            });
        }
    }

    /// Adds and removes topics. Returns whether any is left.
    pub(super) fn change_topics(&mut self, added: &[String], removed: &[String]) -> bool {
        self.journaled_topics.retain(|topic| !removed.contains(topic));
        let is_new = |topic: &&String| !self.journaled_topics.contains(topic);
        let new: Vec<String> = added.iter().filter(is_new).cloned().collect();
        self.journaled_topics.extend(new);
        !self.journaled_topics.is_empty()
    }

    /// Starts an outage, or moves the start of an open one back. Outages of other journals' topics
    /// are ignored.
    pub(super) fn start(&mut self, outage: &TopicOutage<'_>) {
        let TopicOutage { topic, cause, detail, since, certainty } = *outage;
        if !self.journaled_topics.iter().any(|journaled| journaled == topic) {
            return;
        }
        let separator = if detail.is_empty() { "" } else { ": " };
        let gap = Gap {
            from: since,
            to: None,
            length: GapLength::Bounds,
            kind: GapKind::Down,
            cause: cause.to_owned(),
            detail: format!("topic {topic}{separator}{detail}"),
            messages: None,
            certainty,
        };
        let open = self.open_gaps.entry(topic.to_owned()).or_insert_with(|| gap.clone());
        if gap.from < open.from {
            // An event that was queued until its hour could be opened follows that hour's `open`.
            *open = gap;
        }
    }

    /// Ends the outages of the topics that match, and appends them to `gaps`.
    pub(super) fn end_matching(
        &mut self,
        to: UnixNanos,
        matches: impl Fn(&str) -> bool,
        gaps: &mut Vec<Gap>,
    ) {
        self.open_gaps.retain(|topic, gap| {
            let ends = matches(topic);
            if ends {
                gaps.push(Gap { to: Some(to), ..gap.clone() });
            }
            !ends
        });
    }

    /// Drains the outages that are still open.
    pub(super) fn drain_open(&mut self) -> impl Iterator<Item = Gap> {
        std::mem::take(&mut self.open_gaps).into_values()
    }
}

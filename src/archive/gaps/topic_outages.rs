//! In the journals of several topics: those of which nothing comes while the others go on.

use std::collections::BTreeMap;

use super::certainty::Certainty;
use super::gap::Gap;
use super::gap_kind::GapKind;
use crate::base::time::UnixNanos;

#[derive(Debug, Default)]
pub(super) struct TopicOutages {
    /// The topics of which these journals are. Others have journals of their own.
    journaled_topics: Vec<String>,
    /// The gaps that go on.
    open_gaps: BTreeMap<String, Gap>,
}

impl TopicOutages {
    /// A recorder begins to write, and says which of its topics are down.
    pub(super) fn on_open(&mut self, t: u64, own: &[String], down: &[String], gaps: &mut Vec<Gap>) {
        self.journaled_topics = own.to_vec();
        self.end_matching(t, |topic| !down.iter().any(|down| down == topic), gaps);
        for topic in down {
            self.on_topic_down(t, topic, "other", "", Certainty::Exact);
        }
    }

    pub(super) fn on_topic_down(
        &mut self,
        since: u64,
        topic: &str,
        cause: &str,
        detail: &str,
        certainty: Certainty,
    ) {
        if !self.journaled_topics.iter().any(|own| own == topic) {
            return;
        }
        let colon = if detail.is_empty() { "" } else { ": " };
        let down = Gap {
            from: UnixNanos::new(since),
            to: None,
            kind: GapKind::Down,
            cause: cause.to_owned(),
            detail: format!("topic {topic}{colon}{detail}"),
            messages: None,
            certainty,
        };
        let told = self.open_gaps.entry(topic.to_owned()).or_insert_with(|| down.clone());
        if down.from < told.from {
            // An event that had to wait until its hour could be opened.
            *told = down;
        }
    }

    /// What was said of these topics is over.
    pub(super) fn end_matching(
        &mut self,
        to: u64,
        which: impl Fn(&str) -> bool,
        gaps: &mut Vec<Gap>,
    ) {
        self.open_gaps.retain(|topic, down| {
            let ends = which(topic);
            if ends {
                gaps.push(Gap { to: Some(UnixNanos::new(to)), ..down.clone() });
            }
            !ends
        });
    }

    /// The gaps that go on.
    pub(super) fn drain_open(&mut self) -> impl Iterator<Item = Gap> {
        std::mem::take(&mut self.open_gaps).into_values()
    }
}

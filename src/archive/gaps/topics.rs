//! In the journals of several topics: those of which nothing comes while the others go on.

use std::collections::BTreeMap;

use super::{Certainty, Gap, Kind};
use crate::clock::UnixNanos;

#[derive(Debug, Default)]
pub(super) struct Topics {
    /// The topics of which these journals are. Others have journals of their own.
    own: Vec<String>,
    /// The gaps that go on.
    down: BTreeMap<String, Gap>,
}

impl Topics {
    /// A recorder begins to write, and says which of its topics are down.
    pub(super) fn open(&mut self, t: u64, own: &[String], down: &[String], gaps: &mut Vec<Gap>) {
        self.own = own.to_vec();
        self.end(t, |topic| !down.iter().any(|down| down == topic), gaps);
        for topic in down {
            self.down(t, topic, "other", "", Certainty::Exact);
        }
    }

    pub(super) fn down(
        &mut self,
        since: u64,
        topic: &str,
        cause: &str,
        detail: &str,
        certainty: Certainty,
    ) {
        if !self.own.iter().any(|own| own == topic) {
            return;
        }
        let colon = if detail.is_empty() { "" } else { ": " };
        let down = Gap {
            from: UnixNanos::new(since),
            to: None,
            kind: Kind::Down,
            cause: cause.to_owned(),
            detail: format!("topic {topic}{colon}{detail}"),
            messages: None,
            certainty,
        };
        let told = self.down.entry(topic.to_owned()).or_insert_with(|| down.clone());
        if down.from < told.from {
            // An event that had to wait until its hour could be opened.
            *told = down;
        }
    }

    /// What was said of these topics is over.
    pub(super) fn end(&mut self, to: u64, which: impl Fn(&str) -> bool, gaps: &mut Vec<Gap>) {
        self.down.retain(|topic, down| {
            let ends = which(topic);
            if ends {
                gaps.push(Gap { to: Some(UnixNanos::new(to)), ..down.clone() });
            }
            !ends
        });
    }

    /// The gaps that go on.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Gap> {
        std::mem::take(&mut self.down).into_values()
    }
}

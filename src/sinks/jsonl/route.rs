//! Which line goes to which file.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::CONTROL;
use crate::batch::{Batch, Labeler, NO_TOPIC, TopicId, TopicNames};
use crate::pipeline::MAX_TOPICS;
use crate::stats::Counter;

/// Lines are kept back until there are so many bytes of them, so that one write serves many lines
/// of a topic; and no longer than messages keep coming without a pause.
pub(super) const KEPT_BYTES: usize = 8 << 20;

/// Where the topic of a line comes from.
pub(super) enum Topics {
    /// The source has found it.
    OfSource,
    /// It is looked for in the line, as it is written.
    OfLines(Box<Labeler>),
}

/// Finds the file of every line. Files are known by their place in a list, of which the first is for
/// lines without a topic.
pub(super) struct Router {
    topics: Topics,
    labels: Vec<TopicId>,
    /// For each topic the place of its file.
    places: Vec<u32>,
    /// The places of names that were known before their topics were seen.
    named: HashMap<String, usize>,
    /// Lines whose topic was one too many.
    beyond: Arc<Counter>,
}

impl Router {
    pub(super) fn new(topics: Topics, beyond: Arc<Counter>) -> Self {
        Self { beyond, topics, labels: Vec::new(), places: Vec::new(), named: HashMap::new() }
    }

    pub(super) fn is_by_topic(&self) -> bool {
        matches!(self.topics, Topics::OfSource)
    }

    /// Tells of a file for this name.
    pub(super) fn knows(&mut self, name: &str, place: usize) {
        self.named.insert(name.to_owned(), place);
    }

    /// The place of the file of this name.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.named.get(name).copied()
    }

    /// Finds the topics of the lines. One that is new gets its place from `add`.
    pub(super) fn meet(&mut self, batch: &Batch, mut add: impl FnMut(&str) -> usize) {
        let names = match &mut self.topics {
            Topics::OfLines(labeler) => {
                labeler.label(batch, &mut self.labels);
                let beyond = labeler.take_beyond();
                if beyond > 0 {
                    if self.beyond.get() == 0 {
                        warn!(
                            "there are more topics than {MAX_TOPICS}; lines of further ones go to `{CONTROL}`. Is `partition` right?"
                        );
                    }
                    self.beyond.add(beyond);
                }
                labeler.names()
            }
            Topics::OfSource => {
                let Some((_, names)) = batch.topics() else { return };
                names
            }
        };
        if self.places.len() < names.len() {
            find_places(&mut self.places, names, &self.named, &mut add);
        }
    }

    /// The place of the file of each line that was met last, in order; none where there are no topics
    /// and all go to the first.
    pub(super) fn places<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let labels = match self.topics {
            Topics::OfLines(_) => self.labels.as_slice(),
            Topics::OfSource => batch.topics()?.0,
        };
        Some(labels.iter().map(|label| self.places.get(*label as usize).copied().unwrap_or(0)))
    }
}

fn find_places(
    places: &mut Vec<u32>,
    names: &TopicNames,
    named: &HashMap<String, usize>,
    add: &mut impl FnMut(&str) -> usize,
) {
    for (id, name) in names.iter().enumerate().skip(places.len()) {
        let place = if id == NO_TOPIC as usize {
            0
        } else {
            named.get(&**name).copied().unwrap_or_else(|| add(name))
        };
        places.push(u32::try_from(place).unwrap_or(0));
    }
}

//! Which line goes to which file.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::CONTROL_STEM;
use crate::metrics::Counter;
use crate::plugin::batch::{Batch, MAX_TOPICS, TopicId, TopicLabeler, TopicTable};

/// Lines are kept back until there are so many bytes of them, so that one write serves many lines
/// of a topic; and no longer than messages keep coming without a pause.
pub(super) const MAX_BUFFERED_BYTES: usize = 8 << 20;

/// Where the topic of a line comes from.
pub(super) enum TopicSource {
    /// The source has found it.
    Batch,
    /// It is looked for in the line, as it is written.
    Line(Box<TopicLabeler>),
}

/// Finds the file of every line. Files are known by their place in a list, of which the first is for
/// lines without a topic.
pub(super) struct Router {
    topic_source: TopicSource,
    line_topics: Vec<TopicId>,
    /// For each topic the place of its file.
    writer_by_topic: Vec<u32>,
    /// The places of names that were known before their topics were seen.
    writer_by_name: HashMap<String, usize>,
    /// Lines whose topic was one too many.
    beyond_topics: Arc<Counter>,
}

impl Router {
    pub(super) fn new(topics: TopicSource, beyond: Arc<Counter>) -> Self {
        Self {
            beyond_topics: beyond,
            topic_source: topics,
            line_topics: Vec::new(),
            writer_by_topic: Vec::new(),
            writer_by_name: HashMap::new(),
        }
    }

    pub(super) fn is_by_topic(&self) -> bool {
        matches!(self.topic_source, TopicSource::Batch)
    }

    /// Tells of a file for this name.
    pub(super) fn register(&mut self, name: &str, place: usize) {
        self.writer_by_name.insert(name.to_owned(), place);
    }

    /// The place of the file of this name.
    pub(super) fn writer_index(&self, name: &str) -> Option<usize> {
        self.writer_by_name.get(name).copied()
    }

    /// Finds the topics of the lines. One that is new gets its place from `add`.
    pub(super) fn resolve_topics(&mut self, batch: &Batch, mut add: impl FnMut(&str) -> usize) {
        let names = match &mut self.topic_source {
            TopicSource::Line(labeler) => {
                labeler.label(batch, &mut self.line_topics);
                let beyond = labeler.take_over_limit();
                if beyond > 0 {
                    if self.beyond_topics.get() == 0 {
                        warn!(
                            "there are more topics than {MAX_TOPICS}; lines of further ones go to `{CONTROL_STEM}`. Is `partition` right?"
                        );
                    }
                    self.beyond_topics.add(beyond);
                }
                labeler.table()
            }
            TopicSource::Batch => {
                let Some((_, names)) = batch.topics() else { return };
                names
            }
        };
        if self.writer_by_topic.len() < names.len() {
            assign_writers(&mut self.writer_by_topic, names, &self.writer_by_name, &mut add);
        }
    }

    /// The place of the file of each line that was met last, in order; none where there are no topics
    /// and all go to the first.
    pub(super) fn writer_indices<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let labels = match self.topic_source {
            TopicSource::Line(_) => self.line_topics.as_slice(),
            TopicSource::Batch => batch.topics()?.0,
        };
        Some(
            labels
                .iter()
                .map(|label| self.writer_by_topic.get(label.index()).copied().unwrap_or(0)),
        )
    }
}

fn assign_writers(
    places: &mut Vec<u32>,
    names: &TopicTable,
    named: &HashMap<String, usize>,
    add: &mut impl FnMut(&str) -> usize,
) {
    for (id, name) in names.names().enumerate().skip(places.len()) {
        let place = if id == TopicId::NONE.index() {
            0
        } else {
            named.get(name).copied().unwrap_or_else(|| add(name))
        };
        places.push(u32::try_from(place).unwrap_or(0));
    }
}

//! The assignment of lines to topic writers.

use std::sync::Arc;

use tracing::{error, warn};

use super::layout::Layout;
use super::listed_topics::ListedTopics;
use super::topic_writers::TopicWriters;
use super::write_buffer::WriteBuffer;
use super::writer_index::WriterIndex;
use crate::archive::file_name::Stem;
use crate::archive::journal::JournalEvent;
use crate::base::rate_limited_log::RateLimitedLog;
use crate::base::shown_text::shorten;
use crate::base::time::UnixNanos;
use crate::metrics::{Counter, PluginStats};
use crate::plugin::BuildContext;
use crate::plugin::batch::{Batch, MAX_TOPICS, TopicId, TopicLabeler, TopicTable};

/// The stem of lines without a topic, where lines are filed by topic.
pub(super) const CONTROL_STEM: &str = "control";
/// The stem of lines of topics that nobody asked for, where the configuration lists topics.
pub(super) const UNREQUESTED_STEM: &str = "unrequested";

/// The place where the topic of a line is found.
pub(super) enum TopicSource {
    /// The labels of the batch, which the source found.
    Batch,
    /// The line itself.
    Line(Box<TopicLabeler>),
}

/// A router that finds the writer of each line by its topic.
pub(super) struct Router {
    topic_source: TopicSource,
    /// The labels of the last batch, with [`TopicSource::Line`].
    line_topics: Vec<TopicId>,
    /// The writer of each topic, by the topic's id.
    writer_by_topic: Vec<WriterIndex>,
    /// The topics that the configuration lists; `None` if it lists none, or if the lines name the
    /// topics.
    listed_topics: Option<ListedTopics>,
    /// The writer of topics that nobody asked for, once there is one.
    unrequested: Option<WriterIndex>,
    /// The limit for log lines about topics that no file can be named after.
    unnamable_log: RateLimitedLog,
    /// Lines whose topic is one too many.
    beyond_topics: Arc<Counter>,
    plugin_stats: Arc<PluginStats>,
    has_logged_missing_labels: bool,
}

impl Router {
    /// Returns a router that knows no topic yet.
    pub(super) fn new(topic_source: TopicSource, context: &BuildContext) -> Self {
        let listed_topics = match topic_source {
            TopicSource::Batch => ListedTopics::new(&context.topics),
            TopicSource::Line(_) => None,
        };
        Self {
            listed_topics,
            unrequested: None,
            unnamable_log: RateLimitedLog::default(),
            topic_source,
            line_topics: Vec::new(),
            writer_by_topic: Vec::new(),
            beyond_topics: context.counter("beyond_topics"),
            plugin_stats: Arc::clone(&context.plugin_stats),
            has_logged_missing_labels: false,
        }
    }

    /// Returns the layout of files that the router serves.
    pub(super) fn layout(&self) -> Layout {
        match self.topic_source {
            TopicSource::Batch => Layout::SourceTopics,
            TopicSource::Line(_) => Layout::LineTopics,
        }
    }

    /// Takes over other topics of the source. The writers of all topics are looked up again: one may
    /// have files of its own by now.
    pub(super) fn set_topics(&mut self, topics: &[String]) {
        if matches!(self.topic_source, TopicSource::Batch) {
            self.listed_topics = ListedTopics::new(topics);
            self.writer_by_topic.clear();
        }
    }

    /// Copies the lines of the batch into the buffer, each with its writer. A topic that is new
    /// gets a writer.
    ///
    /// A line goes to the first writer when it has no topic, a topic beyond [`MAX_TOPICS`], or one
    /// that no file can be named after.
    pub(super) fn route(
        &mut self,
        batch: &Batch,
        writers: &mut TopicWriters,
        buffer: &mut WriteBuffer,
    ) {
        let (labels, names) = match &mut self.topic_source {
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
                (self.line_topics.as_slice(), labeler.table())
            }
            TopicSource::Batch => {
                let Some(topics) = batch.topics() else {
                    self.report_missing_labels(batch);
                    buffer.push(batch, std::iter::repeat(WriterIndex::FIRST));
                    return;
                };
                topics
            }
        };
        if self.writer_by_topic.len() < names.len() {
            let mut assignment = TopicAssignment {
                listed_topics: self.listed_topics.as_mut(),
                unrequested: &mut self.unrequested,
                unnamable_log: &mut self.unnamable_log,
                received: batch.received(),
            };
            assignment.extend(&mut self.writer_by_topic, names, writers);
        }
        // A label outside the table means no topic, as in `Record::topic`.
        let writer_of = |label: &TopicId| self.writer_by_topic.get(label.index()).copied();
        let writers = labels.iter().map(|label| writer_of(label).unwrap_or(WriterIndex::FIRST));
        buffer.push(batch, writers);
    }

    /// Counts and logs a batch without labels, which the engine owes a sink that wants topics.
    fn report_missing_labels(&mut self, batch: &Batch) {
        self.plugin_stats.errors.add(1);
        if !std::mem::replace(&mut self.has_logged_missing_labels, true) {
            let messages = batch.len();
            error!(
                messages,
                "the batch has no topic labels, so its lines go to `{CONTROL_STEM}`; this is a bug of the recorder, and further batches without labels are only counted"
            );
        }
    }
}

/// The assignment of writers to topics of which the first lines were just received.
struct TopicAssignment<'a> {
    listed_topics: Option<&'a mut ListedTopics>,
    unrequested: &'a mut Option<WriterIndex>,
    unnamable_log: &'a mut RateLimitedLog,
    received: UnixNanos,
}

impl TopicAssignment<'_> {
    /// Extends `writer_by_topic` to all topics of the table.
    fn extend(
        &mut self,
        writer_by_topic: &mut Vec<WriterIndex>,
        names: &TopicTable,
        writers: &mut TopicWriters,
    ) {
        for (id, name) in names.names().enumerate().skip(writer_by_topic.len()) {
            let index = if id == TopicId::NONE.index() {
                WriterIndex::FIRST
            } else {
                writers.index_of(name).unwrap_or_else(|| self.add_writer(name, writers))
            };
            writer_by_topic.push(index);
        }
    }

    fn add_writer(&mut self, topic: &str, writers: &mut TopicWriters) -> WriterIndex {
        let is_wanted = self.listed_topics.as_mut().is_none_or(|listed| listed.is_form(topic));
        if is_wanted {
            return self.add_named_writer(topic, writers);
        }
        if let Some(index) = *self.unrequested {
            return index;
        }
        let shown = shorten(topic);
        warn!(
            topic = shown,
            "the server names a topic that the configuration does not list; lines of such topics go to `{UNREQUESTED_STEM}`, and no others are named here. For files by a value in the line, set `partition` to its place, such as \"/data/0/s\""
        );
        let index = match writers.index_of(UNREQUESTED_STEM) {
            Some(index) => index,
            None => self.add_named_writer(UNREQUESTED_STEM, writers),
        };
        let event = JournalEvent::Unrequested { topic: shown.to_owned() };
        writers.get_mut(WriterIndex::FIRST).record_event(self.received, event.clone());
        writers.get_mut(index).record_event(self.received, event);
        *self.unrequested = Some(index);
        index
    }

    /// Adds a writer for a topic of which a line was just received.
    fn add_named_writer(&mut self, topic: &str, writers: &mut TopicWriters) -> WriterIndex {
        match Stem::from_topic(topic) {
            Ok(stem) => {
                let index = writers.add_topic(topic, stem);
                writers.get_mut(index).set_connected(true);
                index
            }
            Err(error) => {
                if let Some(topics) = self.unnamable_log.record() {
                    let topic = shorten(topic);
                    warn!(topic, %error, topics, "no file can be named after a topic; its lines go to `{CONTROL_STEM}`");
                }
                WriterIndex::FIRST
            }
        }
    }
}

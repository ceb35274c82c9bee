//! The sink of hour files.

use super::event_fan_out::{EventFanOut, JournalDelivery};
use super::joined_lines::JoinedLines;
use super::jsonl_settings::JsonlSettings;
use super::layout::Layout;
use super::reject_files::RejectFiles;
use super::router::{CONTROL_STEM, Router};
use super::topic_writers::TopicWriters;
use super::write_buffer::WriteBuffer;
use super::writer_index::WriterIndex;
use crate::archive::file_name::{Stem, StemError};
use crate::base::time::{Hour, UnixNanos};
use crate::plugin::batch::Batch;
use crate::plugin::{
    BoxError, BuildContext, ConfigChange, RejectedMessage, Sink, SourceEvent, Tick,
};

/// A sink that writes lines, journals and rejected messages into hour files.
pub(super) struct JsonlSink {
    writers: TopicWriters,
    path: LinePath,
    rejects: RejectFiles,
    events: EventFanOut,
}

/// The way of lines to their files.
enum LinePath {
    /// All lines go to the only writer.
    Single(JoinedLines),
    ByTopic(Box<Partitioner>),
}

/// The way of a line to the file of its topic.
struct Partitioner {
    router: Router,
    buffer: WriteBuffer,
}

impl JsonlSink {
    /// Returns a sink with one file for all lines.
    pub(super) fn single_file(settings: JsonlSettings, stem: Stem, context: &BuildContext) -> Self {
        let path = LinePath::Single(JoinedLines::default());
        Self::new(settings, Layout::SingleFile, stem, path, context)
    }

    /// Returns a sink with a file for each topic. The topics of the source have files from the
    /// start where the source labels messages.
    ///
    /// # Errors
    /// No file can be named after a topic of the source.
    pub(super) fn partitioned(
        settings: JsonlSettings,
        router: Router,
        context: &BuildContext,
    ) -> Result<Self, StemError> {
        let layout = router.layout();
        let partitioner = Partitioner { router, buffer: WriteBuffer::default() };
        let path = LinePath::ByTopic(Box::new(partitioner));
        let control = Stem::from_topic(CONTROL_STEM)?;
        let mut sink = Self::new(settings, layout, control, path, context);
        if layout == Layout::SourceTopics {
            for topic in context.topics.iter().filter(|topic| *topic != CONTROL_STEM) {
                sink.writers.add_topic(topic, Stem::from_topic(topic)?);
            }
        }
        Ok(sink)
    }

    fn new(
        settings: JsonlSettings,
        layout: Layout,
        first: Stem,
        path: LinePath,
        context: &BuildContext,
    ) -> Self {
        let rejects = RejectFiles::new(settings.file_mode, settings.sync_interval.is_some());
        let writers = TopicWriters::new(settings, layout, first, context);
        Self { writers, path, rejects, events: EventFanOut::new(layout, context) }
    }
}

impl JsonlSink {
    fn change_config(&mut self, change: &ConfigChange) -> Result<(), BoxError> {
        if let LinePath::ByTopic(partitioner) = &mut self.path {
            partitioner.router.set_topics(&change.topics);
        }
        Ok(self.writers.change_config(change)?)
    }
}

impl Partitioner {
    fn write(&mut self, batch: &Batch, writers: &mut TopicWriters) -> Result<(), BoxError> {
        let hour = Hour::containing(batch.received());
        // The buffer holds lines of one hour.
        let is_next_hour = self.buffer.hour().is_some_and(|buffered| buffered != hour);
        if self.buffer.is_full() || is_next_hour {
            self.buffer.write_to(writers)?;
        }
        if is_next_hour && writers.is_ahead_of_clock(hour) {
            writers.roll_hour(batch.received())?;
        }
        self.router.route(batch, writers, &mut self.buffer);
        Ok(())
    }
}

impl Sink for JsonlSink {
    fn destination(&self) -> String {
        self.writers.file_pattern().display().to_string()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        self.writers.open_dir()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        match &mut self.path {
            LinePath::Single(lines) => lines.push(batch, &mut self.writers),
            LinePath::ByTopic(partitioner) => partitioner.write(batch, &mut self.writers),
        }
    }

    fn buffered(&self) -> u64 {
        let buffered = match &self.path {
            LinePath::Single(lines) => lines.len(),
            LinePath::ByTopic(partitioner) => partitioner.buffer.len() as u64,
        };
        buffered + self.writers.held_messages()
    }

    fn discarded(&self) -> u64 {
        self.writers.discarded()
    }

    fn wants_delayed_flush(&self) -> bool {
        // An append to each of many files costs more than one to a single file.
        matches!(self.path, LinePath::ByTopic(_))
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        match &mut self.path {
            LinePath::Single(lines) => lines.write_to(&mut self.writers),
            LinePath::ByTopic(partitioner) if partitioner.buffer.is_empty() => Ok(()),
            LinePath::ByTopic(partitioner) => partitioner.buffer.write_to(&mut self.writers),
        }
    }

    fn wants_rejected(&self) -> bool {
        true
    }

    fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), BoxError> {
        self.rejects.write(rejected, &mut self.writers)
    }

    fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) -> Result<(), BoxError> {
        // Lines that were received before the event are written before it.
        let mut result = self.flush();
        if self.buffered() > 0 {
            // They cannot be written.
            self.events.mark_behind();
        }
        self.writers.set_clock(at);
        if let SourceEvent::ConfigChanged(change) = event {
            result = result.and(self.change_config(change));
        }
        for JournalDelivery { writer, events } in self.events.apply(at, event, &self.writers) {
            result = result.and(self.writers.record_events(writer, at, events));
        }
        self.writers.set_connected(self.events.all_up());
        let has_several_topics = self.events.first_has_several_topics();
        let first = self.writers.get_mut(WriterIndex::FIRST);
        if let SourceEvent::ConfigChanged(change) = event {
            if has_several_topics {
                first.set_topics_down(self.events.topics_down().clone());
            }
            self.writers.end_topics(&change.removed);
        } else if has_several_topics {
            first.track_topics_down(event);
        }
        result
    }

    fn tick(&mut self, tick: Tick) -> Result<(), BoxError> {
        let Tick { now, complete_until } = tick;
        // Lines that were received before the tick belong to the hour before it.
        let flushed = self.flush();
        match &mut self.path {
            LinePath::Single(lines) => lines.shrink(),
            LinePath::ByTopic(partitioner) => partitioner.buffer.shrink(),
        }
        let ticked = self.writers.tick(now);
        self.rejects.retry_waiting(Some(now), &mut self.writers);
        let synced = self.rejects.sync().map_err(BoxError::from);
        if let Some(complete_until) = complete_until
            && flushed.is_ok()
            && self.buffered() == 0
        {
            self.writers.record_frontier(complete_until);
        }
        flushed.and(ticked).and(synced)
    }

    fn idle_until(&self) -> Option<UnixNanos> {
        if self.buffered() > 0 || self.rejects.needs_tick() {
            return None;
        }
        self.writers.idle_until()
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let flushed = self.flush();
        self.rejects.retry_waiting(None, &mut self.writers);
        let closed = self.writers.close();
        let synced = self.rejects.sync().map_err(BoxError::from);
        flushed.and(closed).and(synced)
    }

    fn wants_topics(&self) -> bool {
        self.writers.layout() == Layout::SourceTopics
    }
}

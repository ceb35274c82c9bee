//! The properties that the topic writers of one sink share.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::jsonl_settings::JsonlSettings;
use super::layout::Layout;
use super::output_dir::RunPlace;
use super::topic_writer::{HourLogLevel, TopicWriter};
use crate::archive::file_name::Stem;
use crate::archive::hour_writer::{HourWriterOptions, TimeIndexing};
use crate::archive::journal::OpenEvent;
use crate::base::time::SystemClock;
use crate::base::units::FileMode;
use crate::plugin::{BuildContext, ConfigChange};

/// A template from which the topic writers of one sink are made.
pub(super) struct TopicWriterTemplate {
    dir: PathBuf,
    file_mode: FileMode,
    sync_interval: Option<Duration>,
    time_index: TimeIndexing,
    layout: Layout,
    /// The first event of every journal of this recording, without topics: there may be thousands, and
    /// as many copies of it.
    open_event: OpenEvent,
    /// The topics of the source.
    topics: Vec<String>,
    subscribed_topics: HashSet<String>,
}

impl TopicWriterTemplate {
    /// Returns a template for files with these settings.
    pub(super) fn new(settings: &JsonlSettings, layout: Layout, context: &BuildContext) -> Self {
        let run = context.run_info.clone();
        let open_event = OpenEvent {
            run: run.id,
            boot: SystemClock::boot_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            config: run.config_digest,
            source: run.endpoint,
            ..OpenEvent::default()
        };
        let subscribed_topics = context.topics.iter().cloned().collect();
        let topics = context.topics.clone();
        Self {
            dir: settings.dir.clone(),
            file_mode: settings.file_mode,
            sync_interval: settings.sync_interval,
            time_index: settings.time_index,
            layout,
            open_event,
            topics,
            subscribed_topics,
        }
    }

    /// Takes over another configuration, with the topics of the source.
    pub(super) fn change_config(&mut self, change: &ConfigChange) {
        change.new.clone_into(&mut self.open_event.config);
        change.endpoint.clone_into(&mut self.open_event.source);
        self.topics.clone_from(&change.topics);
        self.subscribed_topics = change.topics.iter().cloned().collect();
    }

    /// Sets the place of the run in the directory.
    pub(super) fn set_run_place(&mut self, place: RunPlace) {
        self.open_event.run_number = place.run_number;
        self.open_event.previous = place.previous;
    }

    /// Returns the identifier of the start of the machine; empty where the system has none.
    pub(super) fn boot(&self) -> &str {
        &self.open_event.boot
    }

    /// Sets whether journals of writers that are made later begin with a connected source.
    pub(super) fn set_connected(&mut self, connected: bool) {
        self.open_event.connected = connected;
    }

    /// Returns the first writer: the only one, or the one for lines without a topic.
    pub(super) fn first_writer(&self, stem: Stem) -> TopicWriter {
        let mut open_event = self.open_event.clone();
        // With one file per topic, the topics have journals of their own.
        if self.layout != Layout::SourceTopics {
            open_event.topics.clone_from(&self.topics);
        }
        self.build(stem, None, open_event)
    }

    /// Returns the writer of a topic.
    pub(super) fn topic_writer(&self, topic: &str, stem: Stem) -> TopicWriter {
        // Thousands of journals need not each name thousands of topics.
        let open_event = OpenEvent { topics: vec![topic.to_owned()], ..self.open_event.clone() };
        self.build(stem, self.subscribed_topics.get(topic).cloned(), open_event)
    }

    fn build(
        &self,
        stem: Stem,
        subscribed_topic: Option<String>,
        open_event: OpenEvent,
    ) -> TopicWriter {
        let options = HourWriterOptions {
            dir: self.dir.clone(),
            stem,
            mode: self.file_mode.bits(),
            sync_interval: self.sync_interval,
            time_index: self.time_index,
        };
        let log_level = match self.layout {
            Layout::SingleFile => HourLogLevel::Info,
            Layout::SourceTopics | Layout::LineTopics => HourLogLevel::Debug,
        };
        TopicWriter::new(options, subscribed_topic, open_event, log_level)
    }
}

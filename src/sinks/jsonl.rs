//! A sink that writes every message as a line into one file per UTC hour, with a journal beside
//! each file.

mod clock_reading;
mod connectivity_state;
mod event_fan_out;
mod folded_stems;
mod held_lines;
mod held_lines_map;
mod joined_lines;
mod jsonl_settings;
mod jsonl_sink;
mod layout;
mod listed_topics;
mod open_files;
mod output_dir;
mod partition;
mod recency_list;
mod reject_files;
mod router;
mod topic_writer;
mod topic_writer_template;
mod topic_writers;
mod write_buffer;
mod writer_index;
mod writer_list;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::jsonl_settings::JsonlSettings;
use self::jsonl_sink::JsonlSink;
use self::open_files::MIN_OPEN_FILES;
pub use self::partition::Partition;
use self::router::{Router, TopicSource};
use crate::archive::disk::DEFAULT_FILE_MODE;
use crate::archive::file_name::Stem;
use crate::archive::hour_writer::TimeIndexing;
use crate::base::path_text;
use crate::base::units::{ConfigDuration, FileMode};
use crate::plugin::batch::{MAX_TOPICS, TopicLabeler};
use crate::plugin::{BoxError, BuildContext, Sink, SinkConfig};

/// Shortest `mark_interval`. Receive times within a journal are no finer.
const MIN_MARK_INTERVAL: ConfigDuration = ConfigDuration::from_secs(1);

/// Writes every message as a line into one file per UTC hour, or one per UTC hour and topic.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlConfig {
    /// Directory of the files. It is created if it does not exist. Only one recorder may write to it.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub output_dir: PathBuf,
    /// First part of the file names. By default the topic of the source, if it has exactly one.
    #[schemars(length(min = 1))]
    pub stem: Option<String>,
    /// The way in which lines are shared out over files: "topic" for a file for each topic that the
    /// source finds in the message, "none" for one file, or the place of the topic in the line, such
    /// as "/data/0/s". Lines without a topic go to files named "control", and with "topic" those of
    /// topics that the source does not list to files named "unrequested". By default "topic" when the
    /// source has several topics and there is no `stem`, else "none".
    pub partition: Option<Partition>,
    /// Maximum number of files that are open at once. With more topics, the files that were not
    /// written to for the longest time are closed, and opened again for their next line. At least 16.
    #[schemars(range(min = MIN_OPEN_FILES))]
    pub max_open_files: u32,
    /// Time after which written lines are made durable (fdatasync): a power cut loses no more than
    /// the lines of this time. 0 leaves it to the operating system.
    pub sync_interval: ConfigDuration,
    /// Time between two marks in the journal, while there are new lines. A mark records the number
    /// of lines so far: it is the precision with which the journal knows when a line was received.
    /// At least 1s. With more than 10 topics the time grows, so that there are 5 marks a second over
    /// all topics.
    pub mark_interval: ConfigDuration,
    /// Whether the time at which each line was received is kept, in a `.times` file beside the lines
    /// and behind the sealed ones. Without it, times are known at the marks of the journal only.
    pub time_index: bool,
    /// Mode of new files, in octal. Whoever may read the files may also search new directories.
    pub file_mode: FileMode,
}

impl Default for JsonlConfig {
    fn default() -> Self {
        Self {
            output_dir: "./output".into(),
            stem: None,
            partition: None,
            max_open_files: 512,
            sync_interval: ConfigDuration::from_secs(1),
            mark_interval: ConfigDuration::from_secs(2),
            time_index: true,
            file_mode: FileMode::new(DEFAULT_FILE_MODE),
        }
    }
}

/// A configuration that makes no sink.
#[derive(Debug, thiserror::Error)]
enum JsonlError {
    #[error(
        "`stem` is needed as the first part of the file names, since the source does not have exactly one topic"
    )]
    NoStem,
    #[error(
        "the source does not say where its {0} topics are in the messages: write its `topic_pointer`, such as \"/topic\", or give this sink a `stem` for one file with all topics"
    )]
    NoTopicPointer(usize),
    #[error("`stem` names one file, and `partition` asks for several; remove one of them")]
    StemAndPartition,
    #[error("`output_dir` is empty; name a directory, such as \"./output\"")]
    NoOutputDir,
    #[error("`stem` is empty; leave it out to use the topic")]
    EmptyStem,
    #[error("`mark_interval` is {0}; it must be at least {MIN_MARK_INTERVAL}")]
    MarkInterval(ConfigDuration),
    #[error("`max_open_files` is {0}; it must be at least {MIN_OPEN_FILES}")]
    MaxOpenFiles(u32),
}

impl JsonlConfig {
    fn check(&self) -> Result<(), JsonlError> {
        if self.output_dir.as_os_str().is_empty() {
            return Err(JsonlError::NoOutputDir);
        }
        if self.stem.as_ref().is_some_and(String::is_empty) {
            return Err(JsonlError::EmptyStem);
        }
        if self.mark_interval < MIN_MARK_INTERVAL {
            return Err(JsonlError::MarkInterval(self.mark_interval));
        }
        if self.max_open_files < MIN_OPEN_FILES {
            return Err(JsonlError::MaxOpenFiles(self.max_open_files));
        }
        Ok(())
    }

    /// Returns the router of a sink with a file for each topic, or `None` for a single file.
    fn build_router(&self, context: &BuildContext) -> Result<Option<Router>, JsonlError> {
        let has_several_topics = context.topics.len() > 1 && self.stem.is_none();
        let by_source_topic = || match &context.topic_selector {
            Some(_) => Ok(Some(Router::new(TopicSource::Batch, context))),
            None => Err(JsonlError::NoTopicPointer(context.topics.len())),
        };
        match &self.partition {
            None if has_several_topics => by_source_topic(),
            None | Some(Partition::None) => Ok(None),
            Some(_) if self.stem.is_some() => Err(JsonlError::StemAndPartition),
            Some(Partition::Topic) => by_source_topic(),
            Some(Partition::By(selector)) => {
                let labeler = TopicLabeler::new(selector.clone(), MAX_TOPICS);
                Ok(Some(Router::new(TopicSource::Line(Box::new(labeler)), context)))
            }
        }
    }

    /// Returns the stem of a sink with a single file.
    fn single_stem(&self, context: &BuildContext) -> Result<Stem, BoxError> {
        match (&self.stem, context.topics.as_slice()) {
            (Some(stem), _) => Ok(Stem::from_topic(stem)?),
            (None, [topic]) => Ok(Stem::from_topic(topic)?),
            (None, _) => Err(JsonlError::NoStem.into()),
        }
    }
}

impl SinkConfig for JsonlConfig {
    const TYPE: &'static str = "jsonl";

    fn example() -> Value {
        json!({ "output_dir": "./output" })
    }

    fn archive_dir(&self) -> Option<&Path> {
        Some(&self.output_dir)
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Sink>, BoxError> {
        self.check()?;
        let router = self.build_router(context)?;
        let settings = JsonlSettings {
            dir: self.output_dir.clone(),
            file_mode: self.file_mode,
            sync_interval: self.sync_interval.to_non_zero_duration(),
            mark_interval: self.mark_interval.to_duration(),
            max_open_files: self.max_open_files,
            time_index: if self.time_index { TimeIndexing::On } else { TimeIndexing::Off },
        };
        let sink = match router {
            Some(router) => JsonlSink::partitioned(settings, router, context)?,
            None => JsonlSink::single_file(settings, self.single_stem(context)?, context),
        };
        Ok(Box::new(sink))
    }
}

#[cfg(test)]
mod tests;

//! Writes every message as a line into one file per UTC hour, and keeps a journal of each.

mod clock_reading;
mod connectivity_state;
mod event_fan_out;
mod jsonl_sink;
mod layout;
mod open_files;
mod output_dir;
mod partition;
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

use self::jsonl_sink::JsonlSink;
use self::open_files::MIN_OPEN_FILES;
pub use self::partition::Partition;
use self::router::{Router, TopicSource};
use self::topic_writers::JsonlSettings;
use crate::archive::disk::DEFAULT_FILE_MODE;
use crate::archive::file_name::Stem;
use crate::base::units::{ConfigDuration, FileMode};
use crate::plugin::batch::{MAX_TOPICS, TopicLabeler};
use crate::plugin::{BoxError, BuildContext, Sink, SinkConfig};

/// Shortest `mark_interval`. Receive times within a journal are no finer.
const MIN_MARK_INTERVAL: ConfigDuration = ConfigDuration::from_secs(1);

/// Writes every message as a line into one file per UTC hour, or one per hour and topic.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlConfig {
    /// Directory of the files. Created if it does not exist; one recorder may write to it.
    pub output_dir: PathBuf,
    /// First part of the file names. By default the source's topic, if it has exactly one.
    #[schemars(length(min = 1))]
    pub stem: Option<String>,
    /// How lines are shared out: "topic" for files of each topic, as the source finds it in the
    /// message; "none" for one file; or where the name is in the line, such as "/data/0/s". What has
    /// no topic goes to files named "control". By default "topic" when the source has several topics
    /// and there is no `stem`.
    pub partition: Option<Partition>,
    /// How many files may be open at once. Of more topics those that were not written to for the
    /// longest time are closed, and opened again when they are. At least 16.
    #[schemars(range(min = MIN_OPEN_FILES))]
    pub max_open_files: u32,
    /// How often written lines are made durable (fdatasync), while there are new ones: the most
    /// that a power cut can take. 0 leaves it to the operating system.
    pub sync_interval: ConfigDuration,
    /// How often the journal notes how far the lines have come, while there are new ones: how
    /// closely it knows when a line was received, and when a recorder that crashed was last alive.
    /// At least 1s. With more than 40 topics it grows, to 20 marks a second over all of them.
    pub mark_interval: ConfigDuration,
    /// The mode of new files, in octal. Directories get the right to search where files may be read.
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
            file_mode: FileMode::new(DEFAULT_FILE_MODE),
        }
    }
}

/// A configuration for which no file name can be made.
#[derive(Debug, thiserror::Error)]
enum JsonlError {
    #[error(
        "`stem` is needed, since the source has not exactly one topic: it is the first part of the file names"
    )]
    NoStem,
    #[error(
        "the source does not say where its {0} topics are in the messages: write its `topic_pointer`, such as \"/topic\", or give this sink a `stem` for one file of all"
    )]
    NoTopicPointer(usize),
    #[error("`stem` names one file, and `partition` wants several; remove one of them")]
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

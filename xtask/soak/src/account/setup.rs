//! The configurations that take turns.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::tick::Tick;
use super::variation::Variation;

/// The stem of the files in which several topics are together.
const ONE_STEM: &str = "all";

/// A configuration of the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// One topic in one file.
    OneTopic,
    /// Many topics, each with files of its own.
    ManyTopics,
    /// Several topics in one file.
    OneFile,
    /// Two connections with the same topics.
    Redundant,
    /// Several connections that share the topics.
    Shards,
    /// Two connections for each share of the topics.
    RedundantShards,
    /// Connections that are replaced every few seconds.
    Aging,
    /// A stage that can be held up, with a small buffer that holds the server back.
    SlowStage,
    /// The same, with a buffer that drops the newest messages.
    DropNewest,
    /// Runs whose clocks differ.
    ClockSteps,
    /// Several topics on a disk that may be full.
    SmallDisk,
}

impl Setup {
    const ALL: [Self; 11] = [
        Self::ManyTopics,
        Self::OneTopic,
        Self::Redundant,
        Self::Shards,
        Self::SlowStage,
        Self::SmallDisk,
        Self::ClockSteps,
        Self::OneFile,
        Self::DropNewest,
        Self::Aging,
        Self::RedundantShards,
    ];

    /// Returns the configuration of a scenario, by its number.
    pub(super) fn of_scenario(number: usize) -> Self {
        Self::ALL.get(number % Self::ALL.len()).copied().unwrap_or(Self::OneTopic)
    }

    /// Returns the number of topics.
    pub(super) fn topics(self) -> usize {
        match self {
            Self::OneTopic | Self::SlowStage | Self::DropNewest => 1,
            Self::ClockSteps => 3,
            Self::Redundant | Self::Aging | Self::OneFile | Self::SmallDisk => 5,
            Self::RedundantShards => 8,
            Self::Shards => 12,
            Self::ManyTopics => 20,
        }
    }

    /// Returns whether two connections may bring the same message at some time.
    pub(super) fn overlaps(self) -> bool {
        matches!(self, Self::Redundant | Self::RedundantShards | Self::Aging)
    }

    /// Returns whether there is a stage that can be held up.
    pub(super) fn has_stage(self) -> bool {
        matches!(self, Self::SlowStage | Self::DropNewest)
    }

    /// Returns whether the disk may be full.
    pub(super) fn has_small_disk(self) -> bool {
        self == Self::SmallDisk
    }

    /// Returns whether the clocks of the runs differ.
    pub(super) fn has_clock_steps(self) -> bool {
        self == Self::ClockSteps
    }

    /// Returns the stem of the files of a topic.
    pub(super) fn stem(self, topic: usize) -> String {
        if self == Self::OneFile { ONE_STEM.to_owned() } else { Tick::topic_name(topic) }
    }

    /// Returns the configuration of a recorder that keeps its files in `dir` and its archive in
    /// `output`.
    pub(super) fn config(
        self,
        variation: &Variation,
        dir: &Path,
        output: &Path,
        url: &str,
    ) -> Value {
        let topics: Vec<_> = (0..self.topics()).map(Tick::topic_name).collect();
        let mut source = json!({
            "type": "websocket", "url": url, "topics": topics,
            "subscribe": { "req_id": "{id}", "op": "subscribe", "args": "{topics}" },
        });
        let mut sink = json!({ "type": "jsonl", "output_dir": output });
        extend(&mut source, variation.source_keys());
        extend(&mut sink, variation.sink_keys());
        if let Some(share) = self.topics_per_connection() {
            set(&mut source, "topics_per_connection", json!(share));
        }
        if matches!(self, Self::Redundant | Self::RedundantShards) {
            set(&mut source, "connections", json!(2));
        }
        if self == Self::Aging {
            set(&mut source, "max_connection_age", json!("5s"));
        }
        if self == Self::OneFile {
            set(&mut sink, "stem", json!(ONE_STEM));
        }
        let mut config = json!({
            "source": source, "sinks": [sink],
            "log_file": dir.join("log"), "status_socket": dir.join("socket"),
            "shutdown_timeout": "3s",
        });
        if self.has_stage() {
            set(&mut config, "stages", json!([{ "type": "exec", "command": ["cat"] }]));
            set(&mut config, "buffer_size", json!(100));
        }
        if self == Self::DropNewest {
            set(&mut config, "overflow", json!("drop_newest"));
        }
        config
    }

    fn topics_per_connection(self) -> Option<usize> {
        match self {
            Self::Shards => Some(5),
            Self::RedundantShards => Some(4),
            _ => None,
        }
    }
}

fn extend(object: &mut Value, keys: Value) {
    if let (Some(object), Value::Object(keys)) = (object.as_object_mut(), keys) {
        object.extend(keys);
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneTopic => "one topic",
            Self::ManyTopics => "many topics",
            Self::OneFile => "several topics in one file",
            Self::Redundant => "two connections",
            Self::Shards => "shards",
            Self::RedundantShards => "two connections for each shard",
            Self::Aging => "replaced connections",
            Self::SlowStage => "slow stage",
            Self::ClockSteps => "clock steps",
            Self::SmallDisk => "full disk",
            Self::DropNewest => "slow stage, drop_newest",
        })
    }
}

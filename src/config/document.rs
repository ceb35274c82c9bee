//! The keys of the configuration file, as the user writes them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::archive_config::ArchiveConfig;
use super::log_format::LogFormat;
use super::log_level::LogLevel;
use super::on_event_config::OnEventConfig;
use crate::base::path_text;
use crate::base::problem::Problem;
use crate::base::units::{ByteSize, ConfigDuration};
use crate::engine::Overflow;

/// Range of `buffer_size`.
const MIN_BUFFER_MESSAGES: u32 = 1;
const MAX_BUFFER_MESSAGES: u32 = 100_000_000;
/// Minimum of `buffer_bytes`.
const MIN_BUFFER_BYTES: ByteSize = ByteSize::from_bytes(64 << 10);
/// Maximum of `log_files`.
const MAX_LOG_FILES: u16 = 1000;
/// Maximum length in bytes of `status_socket`, see unix(7).
const MAX_SOCKET_PATH: usize = 107;
/// The problem of an empty list of sinks.
pub(super) const NO_SINK: &str = "is empty: a pipeline needs at least one sink";

/// The keys of the sections of a pipeline.
pub(super) const SECTION_KEYS: [&str; 3] = ["source", "stages", "sinks"];

/// The shorthand keys.
pub(super) const SHORTHAND: [ShorthandKey; 3] = [
    ShorthandKey { key: "ws_url", section: "source", stands_for: "source.url" },
    ShorthandKey { key: "topic", section: "source", stands_for: "source.topics[0]" },
    ShorthandKey { key: "output_dir", section: "sinks", stands_for: "sinks[0].output_dir" },
];

/// A top-level key that stands for a key of a section.
pub(super) struct ShorthandKey {
    pub(super) key: &'static str,
    pub(super) section: &'static str,
    /// Path of the key that it stands for.
    stands_for: &'static str,
}

/// The sections of a pipeline, not parsed yet.
pub(super) struct WrittenSections {
    pub(super) source: Value,
    pub(super) stages: Vec<Value>,
    pub(super) sinks: Vec<Value>,
}

/// Configuration of streamer: the source of messages, the stages that they pass and the sinks that
/// store them.
///
/// `ws_url`, `topic` and `output_dir` are shorthand for keys of the sections `source` and `sinks`. A
/// shorthand key and its section exclude each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Document {
    /// JSON Schema of this file, for editors.
    #[serde(rename = "$schema", skip_serializing)]
    pub(crate) schema: Option<String>,
    /// Directory for JSONL output files. It is created if it does not exist.
    #[schemars(length(min = 1))]
    #[serde(deserialize_with = "path_text::deserialize")]
    pub(crate) output_dir: String,
    /// WebSocket subscription topic. It is also the first part of the file names.
    #[schemars(length(min = 1))]
    pub(crate) topic: String,
    /// WebSocket endpoint URL: `ws://…` or `wss://…`.
    #[schemars(regex(pattern = r"^\s*([Ww][Ss]{1,2}://|\$\{)"))]
    pub(crate) ws_url: String,
    /// The source: an object with a `type` and the keys of that type. The default is a `websocket`
    /// source with `ws_url` and `topic`.
    pub(crate) source: Option<Value>,
    /// The stages that every message passes, in order. The default is `verbatim` alone.
    pub(crate) stages: Option<Vec<Value>>,
    /// The sinks; each gets every message. The default is a `jsonl` sink with `output_dir`.
    pub(crate) sinks: Option<Vec<Value>>,
    /// Several pipelines by name, each with its own `source`, `stages` and `sinks`. These keys are
    /// then not allowed at the top level; all other keys apply to every pipeline.
    pub(crate) pipelines: Option<Map<String, Value>>,
    /// Compression and retention of closed hours. By default closed hours stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) archive: Option<ArchiveConfig>,
    /// A program that is told when something is wrong. By default there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_event: Option<OnEventConfig>,
    /// Size of the message buffer between network and disk: the number of messages that were
    /// received and are not written yet.
    #[schemars(range(min = MIN_BUFFER_MESSAGES, max = MAX_BUFFER_MESSAGES))]
    pub(crate) buffer_size: u32,
    /// Maximum memory of the messages in the buffer. An empty buffer accepts one batch of any size.
    pub(crate) buffer_bytes: ByteSize,
    /// Behavior when messages arrive while the buffer is full.
    pub(crate) overflow: Overflow,
    /// Maximum time that a stop may take to write the messages in the buffer. After that the rest is
    /// lost and the exit code is 1.
    pub(crate) shutdown_timeout: ConfigDuration,
    /// Seconds between status lines in the log; 0 for no status lines.
    pub(crate) status_interval: u32,
    /// Path of the Unix socket for status queries, at most 107 bytes; empty or null for no socket.
    #[schemars(length(max = MAX_SOCKET_PATH))]
    #[serde(deserialize_with = "path_text::deserialize")]
    pub(crate) status_socket: Option<PathBuf>,
    /// Path of the log file; empty or null for no file.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub(crate) log_file: Option<PathBuf>,
    /// Log to stdout as well.
    pub(crate) log_to_stdout: bool,
    /// Format of log lines.
    pub(crate) log_format: LogFormat,
    /// Lowest level of the lines that are logged. `-debug` logs everything.
    pub(crate) log_level: LogLevel,
    /// Size at which the log file is renamed to `.1` and a new one begins; 0 for no limit.
    pub(crate) log_max_size: ByteSize,
    /// Number of renamed log files that are kept; `.1` is the newest.
    #[schemars(range(max = MAX_LOG_FILES))]
    pub(crate) log_files: u16,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            schema: None,
            output_dir: "./output".to_owned(),
            topic: "publicTrade.BTCUSDT".to_owned(),
            ws_url: "wss://stream.bybit.com/v5/public/linear".to_owned(),
            source: None,
            stages: None,
            sinks: None,
            pipelines: None,
            archive: None,
            on_event: None,
            buffer_size: 10_000,
            buffer_bytes: ByteSize::from_mib(64),
            overflow: Overflow::Block,
            shutdown_timeout: ConfigDuration::from_secs(30),
            status_interval: 30,
            status_socket: Some("/tmp/streamer.sock".into()),
            log_file: Some("system.log".into()),
            log_to_stdout: false,
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            log_max_size: ByteSize::from_mib(10),
            log_files: 3,
        }
    }
}

impl Document {
    /// Parses the document; the sections of plugins stay as they are.
    ///
    /// # Errors
    /// The first key that is unknown or has a value of the wrong type.
    pub(crate) fn from_value(value: Value) -> Result<Self, Problem> {
        serde_path_to_error::deserialize(value).map_err(|error| Problem::from_serde("", &error))
    }

    /// Returns the problems that the types do not exclude: ranges, and keys that need a value.
    pub(crate) fn check(&self, keys: &Map<String, Value>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |good: bool, path: &str, message: &str| {
            if !good {
                problems.push(Problem::at(path, message));
            }
        };
        let shorthand_source = self.source.is_none();
        check(
            !shorthand_source || !self.topic.is_empty(),
            "topic",
            "is empty; write the topic to subscribe to",
        );
        check(
            !shorthand_source || !self.ws_url.is_empty(),
            "ws_url",
            "is empty; write the endpoint, such as \"wss://stream.bybit.com/v5/public/linear\"",
        );
        check(
            self.sinks.is_some() || !self.output_dir.is_empty(),
            "output_dir",
            "is empty; write a directory, such as \"./output\"",
        );
        check(self.sinks.as_ref().is_none_or(|sinks| !sinks.is_empty()), "sinks", NO_SINK);
        check(
            self.pipelines.as_ref().is_none_or(|pipelines| !pipelines.is_empty()),
            "pipelines",
            "is empty: write at least one pipeline",
        );
        check(
            (MIN_BUFFER_MESSAGES..=MAX_BUFFER_MESSAGES).contains(&self.buffer_size),
            "buffer_size",
            "must be from 1 to 100000000",
        );
        for path in ["archive", "archive.compression", "archive.retention", "on_event"] {
            let mut steps = path.split('.');
            let first = steps.next().and_then(|key| keys.get(key));
            let value = steps.fold(first, |value, key| value?.get(key));
            // Serde accepts an array for a struct.
            check(!value.is_some_and(Value::is_array), path, "is an object: { … }");
        }
        for section in SECTION_KEYS.into_iter().chain(["pipelines"]) {
            let null = keys.get(section).is_some_and(Value::is_null);
            check(!null, section, "is null; leave the key out for the default");
        }
        check(!self.shutdown_timeout.is_zero(), "shutdown_timeout", "must be more than 0");
        check(self.buffer_bytes >= MIN_BUFFER_BYTES, "buffer_bytes", "must be at least 64KiB");
        check(self.log_files <= MAX_LOG_FILES, "log_files", "must be at most 1000");
        let socket = self.status_socket.as_ref().map_or(0, |path| path.as_os_str().len());
        check(
            socket <= MAX_SOCKET_PATH,
            "status_socket",
            "is longer than 107 bytes, the maximum length of the path of a socket",
        );
        problems.extend(self.archive.iter().flat_map(ArchiveConfig::check));
        problems.extend(self.on_event.iter().flat_map(OnEventConfig::check));
        problems
    }

    /// Returns the sections `source`, `stages` and `sinks`. A section that the file does not have is
    /// made from the shorthand keys.
    pub(super) fn sections(&self) -> WrittenSections {
        let source = self.source.clone().unwrap_or_else(
            || json!({ "type": "websocket", "url": self.ws_url, "topics": [self.topic] }),
        );
        let stages = self.stages.clone().unwrap_or_else(|| vec![json!({ "type": "verbatim" })]);
        let sinks = self
            .sinks
            .clone()
            .unwrap_or_else(|| vec![json!({ "type": "jsonl", "output_dir": self.output_dir })]);
        WrittenSections { source, stages, sinks }
    }
}

/// Returns a problem for each key of the file that another key excludes: a shorthand key beside its
/// section, and a key of a pipeline beside `pipelines`.
pub(super) fn check_mixed_forms(keys: &Map<String, Value>) -> Vec<Problem> {
    let beside_section = SHORTHAND
        .iter()
        .filter(|shorthand| keys.contains_key(shorthand.key) && keys.contains_key(shorthand.section))
        .map(|ShorthandKey { key, section, stands_for }| {
            let message = format!("`{key}` and `{section}` exclude each other: `{key}` is shorthand for `{stands_for}`; remove one of them");
            Problem::at(*key, message)
        });
    let beside_pipelines = pipeline_keys()
        .filter(|key| keys.contains_key("pipelines") && keys.contains_key(*key))
        .map(|key| {
            let message = format!(
                "`{key}` and `pipelines` exclude each other: write `{key}` in each of the pipelines"
            );
            Problem::at(key, message)
        });
    beside_section.chain(beside_pipelines).collect()
}

/// Returns the top-level keys that `pipelines` excludes.
pub(super) fn pipeline_keys() -> impl Iterator<Item = &'static str> {
    SHORTHAND.iter().map(|shorthand| shorthand.key).chain(SECTION_KEYS)
}

/// Replaces the path of a problem by the shorthand key in the file, when the file has that key
/// instead of the section.
pub(super) fn with_shorthand_path(mut problem: Problem, keys: &Map<String, Value>) -> Problem {
    for ShorthandKey { key, section, stands_for } in &SHORTHAND {
        let is_within = problem.path.starts_with(stands_for);
        // A source that is made from shorthand keys fails to build because of its URL.
        let is_url = *key == "ws_url" && problem.path == "source";
        // A sink that is made from shorthand keys fails to build because of the topic: its files
        // are named after the topic.
        let is_stem = *key == "topic" && problem.path == "sinks[0]" && !keys.contains_key("sinks");
        if (is_within || is_url || is_stem) && !keys.contains_key(*section) {
            (*key).clone_into(&mut problem.path);
            break;
        }
    }
    problem
}

//! The configuration file as its author writes it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::archive_config::ArchiveConfig;
use crate::base::config_error::Problem;
use crate::base::units::{ByteSize, ConfigDuration};
use crate::engine::Overflow;

/// The least memory for the buffer.
const MIN_BUFFER_BYTES: ByteSize = ByteSize::from_bytes(64 << 10);

/// Which shorthand key stands for a part of which section, and for which key in it.
const SHORTHAND: [(&str, &str, &str); 3] = [
    ("ws_url", "source", "source.url"),
    ("topic", "source", "source.topics[0]"),
    ("output_dir", "sinks", "sinks[0].output_dir"),
];

/// Configuration of streamer: where messages come from, what happens to them, where they go.
///
/// `ws_url`, `topic` and `output_dir` are shorthand for the sections `source` and `sinks`; a key
/// and the section it stands for exclude each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Document {
    /// The schema of this file, for editors.
    #[serde(rename = "$schema", skip_serializing)]
    pub(crate) schema: Option<String>,
    /// Directory for JSONL output files. Created if it does not exist.
    #[schemars(length(min = 1))]
    pub(crate) output_dir: String,
    /// WebSocket subscription topic. Also the first part of the file names.
    #[schemars(length(min = 1))]
    pub(crate) topic: String,
    /// WebSocket endpoint URL: `ws://…` or `wss://…`.
    #[schemars(regex(pattern = r"^(wss?://|\$\{)"))]
    pub(crate) ws_url: String,
    /// The source: an object with a `type` and the keys of that type. By default a websocket
    /// source made from `ws_url` and `topic`.
    pub(crate) source: Option<Value>,
    /// The stages that every message passes, in order. By default `verbatim` alone.
    pub(crate) stages: Option<Vec<Value>>,
    /// The sinks; each gets every message. By default a jsonl sink made from `output_dir`.
    pub(crate) sinks: Option<Vec<Value>>,
    /// Several pipelines by name, each with a `source`, `stages` and `sinks` of its own, instead of
    /// these keys. All share what else the file says.
    pub(crate) pipelines: Option<Map<String, Value>>,
    /// What happens to hours that are closed. By default they stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) archive: Option<ArchiveConfig>,
    /// Size of the internal message buffer between network and disk: how many messages may be on
    /// their way at once.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub(crate) buffer_size: u32,
    /// The memory that these messages may take. One batch of messages is always let in.
    pub(crate) buffer_bytes: ByteSize,
    /// What happens to messages that arrive while the buffer is full.
    pub(crate) overflow: Overflow,
    /// For how long a stop may take to write what is in the buffer. Then it is lost and the exit
    /// code is 1.
    pub(crate) shutdown_timeout: ConfigDuration,
    /// Seconds between status log messages; 0 for none.
    pub(crate) status_interval: u32,
    /// Unix socket path for status queries; empty or null for none. At most 107 bytes.
    #[schemars(length(max = 107))]
    pub(crate) status_socket: Option<PathBuf>,
    /// Log file path; empty or null for none.
    pub(crate) log_file: Option<PathBuf>,
    /// Also log to stdout.
    pub(crate) log_to_stdout: bool,
    /// Size at which the log file is renamed to `.1` and begun anew; 0 for never.
    pub(crate) log_max_size: ByteSize,
    /// How many renamed log files are kept: `.1` is the newest.
    #[schemars(range(max = 1000))]
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
            buffer_size: 10_000,
            buffer_bytes: ByteSize::from_mib(64),
            overflow: Overflow::Block,
            shutdown_timeout: ConfigDuration::from_secs(30),
            status_interval: 30,
            status_socket: Some("/tmp/streamer.sock".into()),
            log_file: Some("system.log".into()),
            log_to_stdout: false,
            log_max_size: ByteSize::from_mib(10),
            log_files: 3,
        }
    }
}

impl Document {
    /// Reads the document; the sections of plugins stay as they are.
    pub(crate) fn from_value(value: Value) -> Result<Self, Problem> {
        let document: Self = serde_path_to_error::deserialize(value)
            .map_err(|error| Problem::from_serde("", &error))?;
        Ok(document)
    }

    /// What no type can say: ranges, and keys that need a value.
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
            "is empty; name what to subscribe to",
        );
        check(
            !shorthand_source || !self.ws_url.is_empty(),
            "ws_url",
            "is empty; write the endpoint, such as \"wss://stream.bybit.com/v5/public/linear\"",
        );
        check(
            self.sinks.is_some() || !self.output_dir.is_empty(),
            "output_dir",
            "is empty; name a directory, such as \"./output\"",
        );
        check(
            self.sinks.as_ref().is_none_or(|sinks| !sinks.is_empty()),
            "sinks",
            "is empty: messages must go somewhere",
        );
        check(
            self.pipelines.as_ref().is_none_or(|pipelines| !pipelines.is_empty()),
            "pipelines",
            "is empty: name at least one",
        );
        check(
            (1..=100_000_000).contains(&self.buffer_size),
            "buffer_size",
            "must be from 1 to 100000000",
        );
        for path in ["archive", "archive.compression", "archive.retention"] {
            let mut steps = path.split('.');
            let first = steps.next().and_then(|key| keys.get(key));
            let value = steps.fold(first, |value, key| value?.get(key));
            // What serde takes for a section is an array, too.
            check(!value.is_some_and(Value::is_array), path, "is an object: { … }");
        }
        for section in ["source", "stages", "sinks", "pipelines"] {
            let null = keys.get(section).is_some_and(Value::is_null);
            check(!null, section, "is null; leave the key out for the default");
        }
        check(!self.shutdown_timeout.is_zero(), "shutdown_timeout", "must be more than 0");
        check(self.buffer_bytes >= MIN_BUFFER_BYTES, "buffer_bytes", "must be at least 64KiB");
        check(self.log_files <= 1000, "log_files", "must be at most 1000");
        let socket = self.status_socket.as_ref().map_or(0, |path| path.as_os_str().len());
        check(
            socket <= 107,
            "status_socket",
            "is longer than the 107 bytes a socket's path may have",
        );
        problems.extend(self.archive.iter().flat_map(ArchiveConfig::check));
        problems
    }

    /// The sections `source`, `stages` and `sinks`, made from the shorthand where they are not
    /// written out.
    pub(crate) fn sections(&self) -> (Value, Vec<Value>, Vec<Value>) {
        let source = self.source.clone().unwrap_or_else(
            || json!({ "type": "websocket", "url": self.ws_url, "topics": [self.topic] }),
        );
        let stages = self.stages.clone().unwrap_or_else(|| vec![json!({ "type": "verbatim" })]);
        let sinks = self
            .sinks
            .clone()
            .unwrap_or_else(|| vec![json!({ "type": "jsonl", "output_dir": self.output_dir })]);
        (source, stages, sinks)
    }
}

/// Shorthand keys that stand beside their section.
pub(crate) fn check_mixed_forms(keys: &Map<String, Value>) -> Vec<Problem> {
    let mixed = SHORTHAND
        .iter()
        .filter(|(key, section, _)| keys.contains_key(*key) && keys.contains_key(*section))
        .map(|(key, section, stands_for)| {
            let message = format!("`{key}` and `{section}` exclude each other: `{key}` is shorthand for `{stands_for}`; remove one of them");
            Problem::at(*key, message)
        });
    let several = ["ws_url", "topic", "output_dir", "source", "stages", "sinks"].into_iter();
    let several = several
        .filter(|key| keys.contains_key("pipelines") && keys.contains_key(*key))
        .map(|key| {
            let message = format!(
                "`{key}` and `pipelines` exclude each other: write it in each of the pipelines"
            );
            Problem::at(key, message)
        });
    mixed.chain(several).collect()
}

/// The path under which the author of the file knows `path`: a section that was made from
/// shorthand has none of its own.
pub(crate) fn with_shorthand_path(mut problem: Problem, keys: &Map<String, Value>) -> Problem {
    for (key, section, stands_for) in &SHORTHAND {
        let within = problem.path.starts_with(stands_for);
        // What a source made from shorthand finds wrong when it is built is its URL.
        let url = *key == "ws_url" && problem.path == "source";
        // And a sink made from shorthand, the topic: its files are named after it.
        let stem = *key == "topic" && problem.path == "sinks[0]" && !keys.contains_key("sinks");
        if (within || url || stem) && !keys.contains_key(*section) {
            (*key).clone_into(&mut problem.path);
            break;
        }
    }
    problem
}

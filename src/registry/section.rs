//! A plugin's section of the configuration: its own keys, and those that the engine minds for it.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::base::config_error::Problem;
use crate::base::json::Selector;
use crate::base::suggest::did_you_mean;
use crate::plugin::{BoxError, BuildContext};

/// What becomes of a message on which a stage fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It goes on unchanged.
    #[default]
    Pass,
    /// It is set aside.
    Reject,
}

/// The keys that every plugin of a kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommonKeys {
    /// `source`, `stage` or `sink`.
    kind: &'static str,
    /// Of a stage.
    pub(crate) on_error: OnError,
    /// Of a sink: whether it may hold the others up.
    pub(crate) required: bool,
}

impl CommonKeys {
    /// These keys as they are by default.
    pub(crate) fn defaults_for(kind: &'static str) -> Self {
        Self { kind, on_error: OnError::Pass, required: true }
    }

    /// Takes these keys out of the section.
    pub(super) fn take_from(
        kind: &'static str,
        keys: &mut Map<String, Value>,
        path: &str,
    ) -> Result<Self, Problem> {
        let mut common = Self::defaults_for(kind);
        match kind {
            "stage" => match keys.remove("on_error") {
                None => {}
                Some(Value::String(text)) if text == "pass" => {}
                Some(Value::String(text)) if text == "reject" => common.on_error = OnError::Reject,
                Some(other) => {
                    let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                    let hint = did_you_mean(&text, ["pass", "reject"]);
                    let message = format!("unknown value `{text}`{hint}; known: pass, reject");
                    return Err(Problem::at(format!("{path}.on_error"), message));
                }
            },
            "sink" => match keys.remove("required") {
                None => {}
                Some(Value::Bool(required)) => common.required = required,
                Some(other) => {
                    let message = format!("`{other}` is neither true nor false");
                    return Err(Problem::at(format!("{path}.required"), message));
                }
            },
            _ => {}
        }
        Ok(common)
    }

    /// The schemas of these keys.
    pub(super) fn schema(kind: &str) -> Map<String, Value> {
        let mut keys = Map::new();
        match kind {
            "stage" => {
                let schema = json!({
                    "description": "What becomes of a message on which the stage fails: `pass` lets it go on unchanged, `reject` sets it aside in the `.rejects` file of the hour. It is counted in any case.",
                    "enum": ["pass", "reject"],
                    "default": "pass",
                });
                keys.insert("on_error".to_owned(), schema);
            }
            "sink" => {
                let schema = json!({
                    "description": "Whether messages wait for this sink when it cannot take them. One that is not required has a buffer of its own and loses what does not fit, counted; the others go on.",
                    "type": "boolean",
                    "default": true,
                });
                keys.insert("required".to_owned(), schema);
            }
            _ => {}
        }
        keys
    }

    /// These keys as they stand in the explicit form.
    fn to_entry(self) -> Option<(String, Value)> {
        match self.kind {
            "stage" => {
                let value = if self.on_error == OnError::Pass { "pass" } else { "reject" };
                Some(("on_error".to_owned(), value.into()))
            }
            "sink" => Some(("required".to_owned(), self.required.into())),
            _ => None,
        }
    }
}

/// What some kinds of plugins say of themselves before they are built.
#[derive(Debug, Default)]
pub(super) struct PluginProperties {
    pub(super) topics: Vec<String>,
    pub(super) topic_selector: Option<Selector>,
    pub(super) archive_dir: Option<PathBuf>,
    pub(super) uses_stdin: bool,
    pub(super) uses_stdout: bool,
}

/// A plugin's section that was read and is not yet built. `R` is what it makes, such as
/// `Box<dyn Sink>`.
pub(crate) struct Section<R> {
    pub(crate) type_name: &'static str,
    /// The section with every default filled in, `type` first.
    pub(crate) resolved: Value,
    pub(crate) common: CommonKeys,
    /// What a source subscribes to; empty for stages and sinks.
    pub(crate) topics: Vec<String>,
    /// Where the messages of a source say what their topic is.
    pub(crate) topic_selector: Option<Selector>,
    /// Where a sink writes hours; `None` for all else.
    pub(crate) archive_dir: Option<PathBuf>,
    /// Whether a source reads stdin.
    pub(crate) uses_stdin: bool,
    /// Whether a sink writes messages to stdout.
    pub(crate) uses_stdout: bool,
    build: BuildFn<R>,
}

type BuildFn<R> = Box<dyn FnOnce(&BuildContext) -> Result<R, BoxError>>;

impl<R> Section<R> {
    pub(super) fn new(
        type_name: &'static str,
        config: Map<String, Value>,
        common: CommonKeys,
        extra: PluginProperties,
        build: impl FnOnce(&BuildContext) -> Result<R, BoxError> + 'static,
    ) -> Self {
        let mut section = Map::from_iter([("type".to_owned(), Value::from(type_name))]);
        section.extend(config);
        section.extend(common.to_entry());
        let PluginProperties {
            topics,
            topic_selector: topic,
            archive_dir,
            uses_stdin,
            uses_stdout,
        } = extra;
        let (resolved, build) = (Value::Object(section), Box::new(build));
        Self {
            type_name,
            resolved,
            common,
            topics,
            topic_selector: topic,
            archive_dir,
            uses_stdin,
            uses_stdout,
            build,
        }
    }

    /// Makes the running plugin.
    pub(crate) fn build(self, context: &BuildContext) -> Result<R, BoxError> {
        (self.build)(context)
    }
}

/// Reads a config; the problem names the key within the section at `path`.
pub(super) fn parse_config<C: DeserializeOwned>(value: &Value, path: &str) -> Result<C, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let problem = Problem::from_serde(path, &error);
        if problem.path == path {
            Problem::in_section(path, problem.message, value)
        } else {
            problem
        }
    })
}

/// The keys of a config, for the explicit form. One that cannot be shown is shown by its type alone.
pub(super) fn resolved_keys(config: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(keys)) => keys,
        _ => Map::new(),
    }
}

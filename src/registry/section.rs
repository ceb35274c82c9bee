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

/// The properties of a plugin that its config states before the plugin is built.
#[derive(Debug, Default)]
pub(crate) struct PluginProperties {
    /// Topics that a source subscribes to; empty for stages and sinks.
    pub(crate) topics: Vec<String>,
    /// Selector of the topic in the messages of a source.
    pub(crate) topic_selector: Option<Selector>,
    /// Directory in which a sink writes hours; `None` for all other plugins.
    pub(crate) archive_dir: Option<PathBuf>,
    /// Set if a source reads stdin.
    pub(crate) uses_stdin: bool,
    /// Set if a sink writes messages to stdout.
    pub(crate) uses_stdout: bool,
}

/// A plugin's section that was parsed; the plugin is not built yet. `R` is the running type, such
/// as `Box<dyn Sink>`.
pub(crate) struct Section<R> {
    pub(crate) type_name: &'static str,
    /// The section with every default filled in, `type` first.
    pub(crate) resolved: Value,
    pub(crate) common: CommonKeys,
    pub(crate) properties: PluginProperties,
    build: BuildFn<R>,
}

type BuildFn<R> = Box<dyn FnOnce(&BuildContext) -> Result<R, BoxError>>;

impl<R> Section<R> {
    /// Makes a section of the plugin's config, which `build` turns into the running plugin.
    ///
    /// # Errors
    /// The config does not serialize to a JSON object, so the explicit form cannot show it.
    pub(super) fn new<C: Serialize + 'static>(
        type_name: &'static str,
        path: &str,
        config: C,
        common: CommonKeys,
        properties: PluginProperties,
        build: impl FnOnce(C, &BuildContext) -> Result<R, BoxError> + 'static,
    ) -> Result<Self, Problem> {
        let mut resolved = Map::from_iter([("type".to_owned(), Value::from(type_name))]);
        match serde_json::to_value(&config) {
            Ok(Value::Object(keys)) => resolved.extend(keys),
            Ok(other) => {
                let message = format!(
                    "the config of `{type_name}` serializes to `{other}`, not to an object"
                );
                return Err(Problem::at(path, message));
            }
            Err(error) => {
                let message = format!("the config of `{type_name}` does not serialize: {error}");
                return Err(Problem::at(path, message));
            }
        }
        resolved.extend(common.to_entry());
        Ok(Self {
            type_name,
            resolved: Value::Object(resolved),
            common,
            properties,
            build: Box::new(move |context| build(config, context)),
        })
    }

    /// Builds the running plugin.
    ///
    /// # Errors
    /// The plugin's own error.
    pub(crate) fn build(self, context: &BuildContext) -> Result<R, BoxError> {
        (self.build)(context)
    }
}

/// Parses the config of a plugin.
///
/// # Errors
/// The first key that is unknown or has a wrong value, with its path within the section at `path`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_that_does_not_serialize_to_an_object_is_a_problem() {
        let section = Section::new(
            "odd",
            "stages[0]",
            "text",
            CommonKeys::defaults_for("stage"),
            PluginProperties::default(),
            |_, _| Ok(()),
        );
        let problem = section.err().unwrap();
        assert_eq!(problem.path, "stages[0]");
        assert!(problem.message.contains("`odd` serializes to `\"text\"`"), "{}", problem.message);
    }
}

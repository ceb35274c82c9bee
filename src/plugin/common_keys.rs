//! The keys that all stages or all sinks have in common.

use serde_json::{Map, Value, json};

use super::OnError;
use crate::base::problem::Problem;
use crate::base::suggest::did_you_mean;

/// The configuration keys that every plugin of a kind has, and that the engine honors for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommonKeys {
    /// `source`, `stage` or `sink`.
    kind: &'static str,
    /// Action for a message on which the stage fails. Used for stages only.
    pub(crate) on_error: OnError,
    /// Whether messages wait for the sink when it cannot take them. Used for sinks only.
    pub(crate) required: bool,
}

impl CommonKeys {
    /// Returns the keys with their defaults.
    pub(crate) fn defaults_for(kind: &'static str) -> Self {
        Self { kind, on_error: OnError::Pass, required: true }
    }

    /// Removes the keys from a plugin's section of the configuration and parses them.
    ///
    /// # Errors
    /// A [`Problem`] at `path`, when a value is unknown or of the wrong type.
    pub(crate) fn take_from(
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

    /// Returns the JSON Schemas of the keys.
    pub(crate) fn schema(kind: &str) -> Map<String, Value> {
        let mut keys = Map::new();
        match kind {
            "stage" => {
                let schema = json!({
                    "description": "Action for a message on which the stage fails: `pass` forwards it unchanged, `reject` sets it aside in the `.rejects` file of the hour. The message is counted in either case.",
                    "enum": ["pass", "reject"],
                    "default": "pass",
                });
                keys.insert("on_error".to_owned(), schema);
            }
            "sink" => {
                let schema = json!({
                    "description": "Whether messages wait for this sink when it cannot take them. A sink that is not required has a buffer of its own; messages that do not fit are lost to it and counted, while the other sinks continue.",
                    "type": "boolean",
                    "default": true,
                });
                keys.insert("required".to_owned(), schema);
            }
            _ => {}
        }
        keys
    }

    /// Returns the key with its value for the resolved configuration, if the kind has one.
    pub(crate) fn to_entry(self) -> Option<(String, Value)> {
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

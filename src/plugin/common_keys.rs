//! The keys that all stages or all sinks have in common.

use serde_json::{Map, Value, json};

use super::{OnError, PluginKind};
use crate::base::problem::Problem;
use crate::base::suggest::did_you_mean;

/// The configuration keys that every plugin of a kind has, and that the engine honors for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommonKeys {
    kind: PluginKind,
    /// Action for a message on which the stage fails. Used for stages only.
    pub(crate) on_error: OnError,
    /// Set if messages wait for the sink when it cannot take them. Used for sinks only.
    pub(crate) required: bool,
}

impl CommonKeys {
    /// Returns the keys with their defaults.
    pub(crate) fn defaults_for(kind: PluginKind) -> Self {
        Self { kind, on_error: OnError::Pass, required: true }
    }

    /// Removes the keys from a plugin's section of the configuration and parses them.
    ///
    /// # Errors
    /// A [`Problem`] at `path`, when a value is unknown or of the wrong type.
    pub(crate) fn take_from(
        kind: PluginKind,
        keys: &mut Map<String, Value>,
        path: &str,
    ) -> Result<Self, Problem> {
        let mut common = Self::defaults_for(kind);
        match kind {
            PluginKind::Source => {}
            PluginKind::Stage => {
                if let Some(value) = keys.remove("on_error") {
                    common.on_error = parse_on_error(&value)
                        .map_err(|message| Problem::at(format!("{path}.on_error"), message))?;
                }
            }
            PluginKind::Sink => match keys.remove("required") {
                None => {}
                Some(Value::Bool(required)) => common.required = required,
                Some(other) => {
                    let message = format!("`{other}` is neither true nor false");
                    return Err(Problem::at(format!("{path}.required"), message));
                }
            },
        }
        Ok(common)
    }

    /// Returns the JSON Schemas of the keys.
    pub(crate) fn schema(kind: PluginKind) -> Map<String, Value> {
        let mut keys = Map::new();
        match kind {
            PluginKind::Source => {}
            PluginKind::Stage => {
                let schema = json!({
                    "description": "Action for a message on which the stage fails: `pass` forwards it unchanged, `reject` sets it aside in the `.rejects` file of the hour. The message is counted in either case.",
                    "enum": OnError::ALL.map(OnError::as_str),
                    "default": OnError::default().as_str(),
                });
                keys.insert("on_error".to_owned(), schema);
            }
            PluginKind::Sink => {
                let schema = json!({
                    "description": "Whether messages wait for this sink when it cannot take them. A sink that is not required has a buffer of its own; messages that do not fit are lost to it and counted, while the other sinks continue.",
                    "type": "boolean",
                    "default": true,
                });
                keys.insert("required".to_owned(), schema);
            }
        }
        keys
    }

    /// Returns the key with its value for the resolved configuration, if the kind has one.
    pub(crate) fn to_entry(self) -> Option<(String, Value)> {
        match self.kind {
            PluginKind::Source => None,
            PluginKind::Stage => Some(("on_error".to_owned(), self.on_error.as_str().into())),
            PluginKind::Sink => Some(("required".to_owned(), self.required.into())),
        }
    }
}

/// Parses the value of `on_error`.
///
/// # Errors
/// The value is unknown; the message suggests one.
fn parse_on_error(value: &Value) -> Result<OnError, String> {
    let known = OnError::ALL.map(OnError::as_str);
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    OnError::ALL.into_iter().find(|action| action.as_str() == text).ok_or_else(|| {
        let hint = did_you_mean(&text, known);
        format!("unknown value `{text}`{hint}; known: {}", known.join(", "))
    })
}

//! The key `ping`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::units::ConfigDuration;

/// A message of the application that keeps the connection alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingConfig {
    /// The message: an object is sent as JSON, a string without quotes.
    #[serde(default = "PingConfig::default_message")]
    #[schemars(extend("type" = ["object", "string", "array"]))]
    pub message: Value,
    /// Time between two pings, at least 100ms.
    #[serde(default = "PingConfig::default_interval")]
    pub interval: ConfigDuration,
}

impl PingConfig {
    /// Minimum value of `interval`.
    pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(100);

    fn default_message() -> Value {
        json!({ "op": "ping" })
    }

    fn default_interval() -> ConfigDuration {
        ConfigDuration::from_secs(20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_without_a_message_sends_the_documented_one() {
        let ping: PingConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(ping.message.to_string(), r#"{"op":"ping"}"#);
    }
}

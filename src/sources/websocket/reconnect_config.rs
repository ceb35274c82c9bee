//! The key `reconnect`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::ConfigDuration;
use crate::plugin::ReconnectPolicy;

/// Delays between attempts to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReconnectConfig {
    /// First and shortest delay, from 100ms to 1h.
    pub first: ConfigDuration,
    /// Longest delay, from `first` to 1h. A server that refuses by an HTTP status, or refuses the
    /// subscription, and asks for no pause by `Retry-After` is granted up to 1m, if that is longer.
    pub max: ConfigDuration,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self { first: ConfigDuration::from_millis(500), max: ConfigDuration::from_secs(10) }
    }
}

impl ReconnectConfig {
    /// Minimum value of `first`.
    pub(super) const MIN_FIRST: ConfigDuration = ConfigDuration::from_millis(100);
    /// Maximum value of both keys.
    pub(super) const MAX: ConfigDuration = ConfigDuration::from_secs(3600);

    /// Returns the policy for the engine.
    pub(super) fn to_policy(self) -> ReconnectPolicy {
        ReconnectPolicy { first: self.first.to_duration(), max: self.max.to_duration() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_the_engine() {
        assert_eq!(ReconnectConfig::default().to_policy(), ReconnectPolicy::default());
    }
}

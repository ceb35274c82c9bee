//! The section `on_event`: the program that is told of alerts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::command_line::CommandLine;
use crate::base::problem::Problem;
use crate::base::units::ConfigDuration;
use crate::metrics::AlertKind;

/// A program that is started when something is wrong, and again when that is over. It gets one line
/// of JSON for each alert on its stdin.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnEventConfig {
    /// The program and its arguments.
    pub(crate) command: CommandLine,
    /// Environment variables of the program, in addition to those of the recorder.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// The kinds of alerts. The default is all but `unconfirmed`.
    #[serde(default = "AlertKind::defaults")]
    #[schemars(length(min = 1))]
    pub(crate) events: Vec<AlertKind>,
    /// Time that an alert must last before the program is told.
    #[serde(default = "OnEventConfig::default_after")]
    pub(crate) after: ConfigDuration,
    /// Longest time that the program may run. More than 0.
    #[serde(default = "OnEventConfig::default_timeout")]
    pub(crate) timeout: ConfigDuration,
}

impl OnEventConfig {
    fn default_after() -> ConfigDuration {
        ConfigDuration::from_secs(30)
    }

    fn default_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(30)
    }

    /// Returns the problems that the types do not exclude.
    pub(super) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = self.command.check() {
            let message = error.to_string();
            let message = message.strip_prefix("`command`: ").unwrap_or(&message);
            problems.push(Problem::at("on_event.command", message));
        }
        if self.events.is_empty() {
            let message = "is empty; leave the key out for the usual kinds";
            problems.push(Problem::at("on_event.events", message));
        }
        if self.timeout.is_zero() {
            problems.push(Problem::at("on_event.timeout", "must be more than 0"));
        }
        problems
    }
}

//! Command lines of external programs, as the configuration has them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Access, access};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::child_process::ChildProcess;
use super::path_text::{PathTextError, check_path_text};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct CommandLine(
    /// The program and its arguments. A program without a `/` is looked up in `PATH`.
    #[serde(deserialize_with = "deserialize_command")]
    #[schemars(length(min = 1))]
    Vec<String>,
);

/// A command line that cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The list is empty, or its first text is.
    #[error("`command` is empty: name a program, as [\"jq\", \"-c\", \".\"]")]
    Empty,
    /// The path of the program is one for a shell.
    #[error("`command`: {0}")]
    Path(#[source] PathTextError),
    /// There is no such program, or nobody may execute it.
    #[error("`command`: there is no program `{0}` that may be run")]
    NotFound(String),
}

fn deserialize_command<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    // A text for a shell is shown split into the list that it should be.
    let example = match &value {
        Value::String(words) => words.split_whitespace().collect(),
        _ => json!(["jq", "-c", "."]),
    };
    let no_list =
        |_| D::Error::custom(format!("write the program and its arguments as a list: {example}"));
    serde_json::from_value(value).map_err(no_list)
}

impl CommandLine {
    /// Checks that the program exists and may be executed.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        let Some(program) = self.0.first().filter(|program| !program.is_empty()) else {
            return Err(CommandError::Empty);
        };
        check_path_text(Path::new(program)).map_err(CommandError::Path)?;
        let found = if program.contains('/') {
            is_executable(Path::new(program))
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| is_executable(&dir.join(program)))
        };
        if found { Ok(()) } else { Err(CommandError::NotFound(program.clone())) }
    }

    /// Returns the name of the program, for the log. It is empty for a command line that fails
    /// [`CommandLine::check`].
    pub(crate) fn name(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// Starts the program with `env` beside the environment of the recorder.
    ///
    /// # Errors
    /// See [`ChildProcess::spawn`].
    pub(crate) fn start(&self, env: &BTreeMap<String, String>) -> io::Result<ChildProcess> {
        let mut command = Command::new(self.name());
        command.args(self.0.iter().skip(1)).envs(env);
        ChildProcess::spawn(self.name(), command)
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

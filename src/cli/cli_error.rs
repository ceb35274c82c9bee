//! The reason why a command failed, which decides the exit code.

use std::io;
use std::process::ExitCode;

use anyhow::anyhow;

use crate::base::config_error::ConfigError;
use crate::base::secrets::Secrets;
use crate::recorder::{RecorderError, RecorderErrorKind};

/// The reason why a command failed.
pub(super) enum CliError {
    /// The command line is not valid.
    Usage(String),
    /// The configuration has problems.
    Config(ConfigError),
    Other(anyhow::Error),
}

impl CliError {
    /// Returns the error with its secrets masked. The error of a configuration shows none.
    pub(super) fn masked(self, secrets: &Secrets) -> Self {
        match self {
            Self::Other(error) => {
                let text = format!("{error:#}");
                let masked = secrets.mask(&text);
                if masked == text { Self::Other(error) } else { Self::Other(anyhow!(masked)) }
            }
            other => other,
        }
    }

    /// Prints the error to stderr and returns the exit code.
    #[expect(clippy::print_stderr, reason = "the command line reports errors to its user")]
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                eprintln!("error: {message}\nTry `streamer --help`.");
                ExitCode::from(2)
            }
            Self::Config(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
            Self::Other(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<RecorderError> for CliError {
    fn from(error: RecorderError) -> Self {
        match error.into_kind() {
            RecorderErrorKind::Config(error) => Self::Config(error),
            other => Self::Other(other.into()),
        }
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

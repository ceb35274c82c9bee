//! The reason why a command failed, which decides the exit code.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::anyhow;

use crate::base::config_error::ConfigError;
use crate::base::secrets::Secrets;
use crate::recorder::{RecorderError, RecorderErrorKind};

/// Maximum time for which the end of the program waits for its error message to be read.
const PRINT_TIMEOUT: Duration = Duration::from_secs(1);

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

    /// Returns the error as one line.
    pub(super) fn to_line(&self) -> String {
        let text = match self {
            Self::Usage(message) => message.clone(),
            Self::Config(error) => error.to_string(),
            Self::Other(error) => format!("{error:#}"),
        };
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    /// Prints the error to stderr and returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(message) => {
                (format!("error: {message}\nTry `streamer --help`."), ExitCode::from(2))
            }
            Self::Config(error) => (error.to_string(), ExitCode::from(2)),
            Self::Other(error) => (format!("error: {error:#}"), ExitCode::FAILURE),
        };
        print_with_timeout(text);
        code
    }
}

/// Prints the text to stderr, unless nobody reads it there: that must not keep the program from
/// ending.
#[expect(clippy::print_stderr, reason = "the command line reports errors to its user")]
fn print_with_timeout(text: String) {
    let (done, printed) = channel();
    std::thread::spawn(move || {
        eprintln!("{text}");
        // The receiver is gone after the time limit.
        let _gone = done.send(());
    });
    // After the time limit the program ends without the message.
    let _timed_out = printed.recv_timeout(PRINT_TIMEOUT);
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

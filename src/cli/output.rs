//! The output of commands: data goes to stdout, messages for people go to stderr.

use std::io::{self, Write};

use anyhow::Context;
use serde::Serialize;

use super::cli_error::CliError;

/// The form in which a command prints its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    Text,
    /// JSON: one document, or one object per line.
    Json,
}

impl OutputFormat {
    /// Returns the format that the flag `--json` selects.
    pub(super) fn from_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// The first error of output that is printed while other work goes on.
#[derive(Default)]
pub(super) struct DeferredError(Option<CliError>);

impl DeferredError {
    /// Keeps the error of `result`, unless there is one already.
    pub(super) fn record(&mut self, result: Result<(), CliError>) {
        if let Err(error) = result {
            self.0.get_or_insert(error);
        }
    }

    /// Returns the first error that was recorded.
    pub(super) fn into_result(self) -> Result<(), CliError> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Prints data to stdout. A closed pipe is no error: its reader has seen enough.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    ignore_broken_pipe(io::stdout().write_all(text.as_bytes()))
}

/// Prints a value to stdout as one indented JSON document.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    print(&to_json_document(value)?)
}

/// Prints a value to stdout as one line of JSON.
pub(super) fn print_json_line(value: &impl Serialize) -> Result<(), CliError> {
    print(&to_json_line(value)?)
}

/// Returns a value as one indented JSON document with a line feed at the end.
pub(super) fn to_json_document(value: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(value).context("cannot print the result as JSON")?;
    Ok(text + "\n")
}

/// Returns a value as one line of JSON with its line feed.
pub(super) fn to_json_line(value: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string(value).context("cannot print the result as JSON")?;
    Ok(text + "\n")
}

/// Returns the result of a write to stdout, with success for a closed pipe.
pub(super) fn ignore_broken_pipe(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to stdout").into())
        }
        _ => Ok(()),
    }
}

/// Prints a message for people to stderr.
#[expect(clippy::print_stderr, reason = "stdout is for data")]
pub(super) fn print_message(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_value_without_a_json_form_is_an_error_and_no_empty_line() {
        let not_utf8 = Path::new(std::ffi::OsStr::from_bytes(b"/\xff"));
        assert!(to_json_line(&not_utf8).is_err());
        assert!(to_json_document(&not_utf8).is_err());
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
        assert!(ignore_broken_pipe(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(ignore_broken_pipe(Err(io::ErrorKind::StorageFull.into())).is_err());
    }

    #[test]
    fn a_deferred_error_is_returned_at_the_end() {
        let mut errors = DeferredError::default();
        errors.record(Ok(()));
        errors.record(Err(CliError::Usage("first".to_owned())));
        errors.record(Err(CliError::Usage("second".to_owned())));
        let first = errors.into_result();
        assert!(matches!(first, Err(CliError::Usage(text)) if text == "first"));
    }
}

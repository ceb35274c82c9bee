//! The standard streams to which log lines go.

use std::io::{self, Write};

use super::line_style::LineStyle;
use super::log_line::LogLine;

/// The standard stream to which log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// A standard stream to which log lines go, in the style of what it is connected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Console {
    stream: Stream,
    style: LineStyle,
}

impl Console {
    pub(super) fn stdout() -> Self {
        Self { stream: Stream::Stdout, style: LineStyle::of_stream(io::stdout()) }
    }

    pub(super) fn stderr() -> Self {
        Self { stream: Stream::Stderr, style: LineStyle::of_stream(io::stderr()) }
    }

    /// Prints a line.
    ///
    /// # Errors
    /// The stream is closed or full.
    pub(super) fn print(self, line: &LogLine) -> io::Result<()> {
        let line = line.render(self.style);
        match self.stream {
            Stream::Stdout => io::stdout().write_all(line.as_bytes()),
            Stream::Stderr => io::stderr().write_all(line.as_bytes()),
        }
    }
}

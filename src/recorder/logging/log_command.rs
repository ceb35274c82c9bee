//! The messages to a log thread.

use std::sync::mpsc::Sender;

use super::log_line::LogLine;

/// A message to a log thread.
pub(super) enum LogCommand {
    Line(LogLine),
    /// Opens the file again for the next line.
    Reopen,
    /// Confirms that all earlier lines are written.
    Flush(Sender<()>),
}

//! The ways in which a program fails.

use std::io;
use std::time::Duration;

use crate::base::line_splitter::LineTooLong;

/// The reason for giving up a program.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramFailure {
    /// The program ended, as the text describes.
    #[error("{0}")]
    Exited(String),
    /// The program neither read nor wrote.
    #[error("the program did nothing for {0:?} (`timeout`)")]
    TimedOut(Duration),
    /// The program writes a lot and reads nothing.
    #[error("the program writes without end and does not read its input")]
    OutputFlood,
    /// With `replies: "each"`: there is no message for the answer.
    #[error("the program wrote more lines than it was sent (`replies: \"each\"`)")]
    UnexpectedReply,
    /// An answer is too long.
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    /// A system call failed.
    #[error("the connection to the program failed: {0}")]
    Io(#[from] io::Error),
}

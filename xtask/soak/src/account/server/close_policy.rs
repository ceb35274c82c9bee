//! The answer to the close frame of a client.

/// The reaction to close frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosePolicy {
    Answer,
    Ignore,
}

//! The answer to the close frame of a client.

/// Whether close frames are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosePolicy {
    Answer,
    Ignore,
}

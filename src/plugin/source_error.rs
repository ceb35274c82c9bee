//! The errors by which a source steers the engine.

use super::{BoxError, Disconnect};

/// The reason why a source delivers no more messages. It decides what the engine does next.
#[derive(Debug)]
pub enum SourceError {
    /// The source has reached its end: the engine stops reading it.
    Ended,
    /// The connection is lost or could not be made: the engine backs off and connects again.
    Disconnected(Disconnect),
    /// The fault does not heal by waiting: the engine stops the program.
    Fatal(BoxError),
}

impl From<Disconnect> for SourceError {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnected(disconnect)
    }
}

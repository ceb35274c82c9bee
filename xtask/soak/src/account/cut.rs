//! The ways in which a server ends a connection.

use std::fmt;

/// The end of a connection as the network shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// A close frame, and then a FIN.
    Close,
    /// A FIN alone.
    End,
    /// A reset, which discards what was not delivered.
    Reset,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close => "close frame and FIN",
            Self::End => "FIN",
            Self::Reset => "RST",
        })
    }
}

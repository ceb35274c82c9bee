//! The time of a receipt.

use super::UnixNanos;

/// The time at which messages were read, and how far reading had got by then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Time of the read.
    pub received: UnixNanos,
    /// Time until which everything that had arrived is among these messages and those before them.
    /// Earlier than the read where more had arrived than one read takes.
    pub complete_until: UnixNanos,
}

impl Receipt {
    /// Returns a lower bound of the time at which these messages were sent. They may have waited to
    /// be read since then.
    pub fn sent_since(self) -> UnixNanos {
        self.complete_until.min(self.received)
    }
}

impl From<UnixNanos> for Receipt {
    /// Returns the receipt of messages after which nothing was left unread.
    fn from(received: UnixNanos) -> Self {
        Self { received, complete_until: received }
    }
}

//! A confirmation that the server has yet to send.

use std::time::Instant;

/// The answer to one subscription.
#[derive(Debug)]
pub(super) struct PendingAnswer {
    pub(super) due: Instant,
    /// Indices of the topics that were asked for.
    pub(super) topics: Vec<usize>,
    pub(super) text: String,
}

//! The result of a wait for an item of the queue.

use super::QueueItem;

/// The result of a wait for an item of the queue.
#[derive(Debug)]
pub(crate) enum Popped {
    Item(QueueItem),
    /// The queue is empty and closed.
    Closed,
    /// Nothing came for some seconds, and the consumer must give its thread up.
    Away,
}

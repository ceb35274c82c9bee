//! The progress of reading, by connection.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::plugin::ConnectionId;

/// The times until which everything that the servers had sent is in the queue, for each established
/// connection of a pipeline.
#[derive(Debug, Default)]
pub(crate) struct ReadFrontiers(Mutex<BTreeMap<ConnectionId, Instant>>);

impl ReadFrontiers {
    /// Sets the time of a connection.
    pub(super) fn set(&self, connection: ConnectionId, complete_until: Instant) {
        self.lock().insert(connection, complete_until);
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&self, connection: ConnectionId) {
        self.lock().remove(&connection);
    }

    /// Returns the time of the connection that is behind all others; `None` without a connection.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lock().values().min().copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ConnectionId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

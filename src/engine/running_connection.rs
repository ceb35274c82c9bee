//! A connection of a slot, and the wait for its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::connection_requests::ConnectionRequests;
use super::ended_connection::EndedConnection;
use super::line_index::LineIndex;

/// A connection of a slot, with the future that runs it.
pub(super) struct RunningConnection {
    pub(super) line: LineIndex,
    pub(super) is_connected: bool,
    /// Number of the slot's source of which the connection is.
    pub(super) generation: u64,
    pub(super) requests: Arc<ConnectionRequests>,
    pub(super) future: Pin<Box<dyn Future<Output = EndedConnection> + Send>>,
}

/// The part that a connection plays in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Current,
    Replacement,
}

/// Waits for the connection that ends first.
///
/// The connections take turns in being polled first, so that neither waits for one that is always
/// ready.
///
/// # Cancel safety
/// Cancel-safe: the connections stay where they are.
pub(super) async fn next_ended_connection(
    current: &mut Option<RunningConnection>,
    replacement: &mut Option<RunningConnection>,
    replacement_first: &mut bool,
) -> (Role, EndedConnection) {
    poll_fn(|cx| {
        let order = if *replacement_first {
            [Role::Replacement, Role::Current]
        } else {
            [Role::Current, Role::Replacement]
        };
        *replacement_first = !*replacement_first;
        for role in order {
            let connection = match role {
                Role::Current => &mut *current,
                Role::Replacement => &mut *replacement,
            };
            if let Some(connection) = connection
                && let Poll::Ready(ended) = connection.future.as_mut().poll(cx)
            {
                return Poll::Ready((role, ended));
            }
        }
        Poll::Pending
    })
    .await
}

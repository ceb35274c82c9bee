//! What a slot asks of a running connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The requests of a slot to a running connection. A connection waits for all of them with one
/// token, so that reading costs no more than waiting for its end.
pub(super) struct ConnectionRequests {
    close: CancellationToken,
    state: Mutex<RequestState>,
}

struct RequestState {
    /// Canceled with `close`, or when there are new topics.
    wake: CancellationToken,
    /// Topics that the connection is to have, one change after the other. None is left out: a topic
    /// that was removed and added again is subscribed to again, which the sinks wait for.
    topics: VecDeque<Arc<[String]>>,
}

impl ConnectionRequests {
    /// Creates requests of which `stop` closes the connection.
    pub(super) fn new(stop: &CancellationToken) -> Arc<Self> {
        let close = stop.child_token();
        let wake = close.child_token();
        Arc::new(Self { close, state: Mutex::new(RequestState { wake, topics: VecDeque::new() }) })
    }

    /// Asks the connection to close.
    pub(super) fn close(&self) {
        self.close.cancel();
    }

    /// Asks the connection to change its topics.
    pub(super) fn set_topics(&self, topics: Arc<[String]>) {
        let mut state = self.lock_state();
        state.topics.push_back(topics);
        state.wake.cancel();
    }

    /// Returns the token that is canceled when the connection is to close.
    pub(super) fn close_token(&self) -> CancellationToken {
        self.close.clone()
    }

    /// Returns the token that is canceled at the next request.
    pub(super) fn wake_token(&self) -> CancellationToken {
        self.lock_state().wake.clone()
    }

    /// Takes the topics that the connection is to have next. Without any, a canceled token means that
    /// it is to close.
    pub(super) fn take_topics(&self) -> Option<Arc<[String]>> {
        let mut state = self.lock_state();
        let topics = state.topics.pop_front()?;
        if state.topics.is_empty() {
            state.wake = self.close.child_token();
        }
        Some(topics)
    }

    fn lock_state(&self) -> MutexGuard<'_, RequestState> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_topics_wake_a_connection_and_a_close_ends_it() {
        let stop = CancellationToken::new();
        let requests = ConnectionRequests::new(&stop);
        let wake = requests.wake_token();
        let topics = ["a", "b"].map(|topic| Arc::<[String]>::from([topic.to_owned()]));
        for topics in &topics {
            requests.set_topics(Arc::clone(topics));
        }
        for topics in &topics {
            assert!(wake.is_cancelled() && requests.wake_token().is_cancelled());
            assert!(!requests.close_token().is_cancelled());
            assert_eq!(requests.take_topics().as_ref(), Some(topics));
        }
        let wake = requests.wake_token();
        assert!(!wake.is_cancelled());
        stop.cancel();
        assert!(wake.is_cancelled());
        assert_eq!(requests.take_topics(), None);
    }
}

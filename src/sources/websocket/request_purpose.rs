//! The purposes of requests.

/// The purpose of a request about topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestPurpose {
    /// To subscribe to topics that are not active.
    Subscribe,
    /// To subscribe again to topics that are silent, although they are active.
    Resubscribe,
    /// To end the subscriptions to topics.
    Unsubscribe,
}

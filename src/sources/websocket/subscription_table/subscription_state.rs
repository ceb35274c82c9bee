//! The state of one topic's subscription.

/// The state of one topic's subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SubscriptionState {
    /// The topic is still to be requested.
    Pending,
    /// The topic is requested.
    Requested,
    /// The server confirmed the topic, or sent data of it.
    Active,
    /// The server rejected the topic, for this reason.
    Rejected(String),
    /// The topic is not wanted any more. Its messages may be on their way.
    Unsubscribed,
}

impl SubscriptionState {
    pub(super) fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}

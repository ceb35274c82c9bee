//! The server's reply to a subscription.

/// The reply of one server to the subscription to one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SubscriptionReply {
    /// The server has not replied.
    Pending,
    /// The server confirmed the subscription, or sent data of the topic.
    Confirmed,
    /// The server refused the subscription, with these words.
    Refused(String),
}

impl SubscriptionReply {
    /// Returns the better of two servers' replies: a topic that one of them confirmed is delivered.
    pub(super) fn better<'a>(&'a self, other: &'a Self) -> &'a Self {
        match (self, other) {
            (Self::Confirmed, _) | (Self::Refused(_), Self::Refused(_) | Self::Pending) => self,
            (Self::Pending, _) | (Self::Refused(_), Self::Confirmed) => other,
        }
    }
}

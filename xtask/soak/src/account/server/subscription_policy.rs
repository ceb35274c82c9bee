//! The answer to a subscription.

use std::time::Duration;

use super::answer_order::AnswerOrder;

/// The time at which subscriptions are confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubscriptionPolicy {
    pub(super) delay: Duration,
    pub(super) order: AnswerOrder,
}

//! The answers to subscriptions that are sent as fixed messages.

use tokio::time::Instant;

use crate::sources::websocket::subscription_table::ANSWER_TIMEOUT;

/// The answers to subscriptions that are sent as fixed messages, which have no number.
pub(super) struct FixedMessageAnswers {
    /// Number of messages that were sent at the start and are not answered.
    outstanding: usize,
    /// Time until which an answer is awaited.
    deadline: Option<Instant>,
}

impl FixedMessageAnswers {
    /// Awaits an answer to each of `count` messages, which are sent now.
    pub(super) fn new(count: usize, now: Instant) -> Self {
        let deadline = (count > 0).then_some(now + ANSWER_TIMEOUT);
        Self { outstanding: count, deadline }
    }

    /// Returns whether some of the messages are not answered.
    pub(super) fn has_outstanding(&self) -> bool {
        self.outstanding > 0
    }

    /// Returns the time until which an answer is awaited, if one is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Awaits an answer to messages that are sent again.
    pub(super) fn await_again(&mut self, now: Instant) {
        self.deadline = Some(now + ANSWER_TIMEOUT);
    }

    /// Records a confirmation. Returns whether it is the last one that was awaited.
    pub(super) fn record_confirmation(&mut self) -> bool {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.outstanding == 0 && self.deadline.take().is_some()
    }

    /// Records a rejection. Returns whether an answer was outstanding.
    pub(super) fn record_rejection(&mut self) -> bool {
        std::mem::take(&mut self.outstanding) > 0
    }

    /// Records data, which stands for an answer if the connection has no topics.
    pub(super) fn record_data(&mut self) {
        self.deadline = None;
    }

    /// Gives up awaiting answers that are late. Returns whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let is_late = self.deadline.is_some_and(|deadline| deadline <= now);
        if is_late {
            self.outstanding = 0;
            self.deadline = None;
        }
        is_late
    }
}

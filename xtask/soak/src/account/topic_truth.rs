//! The ticks that the server made of one topic.

/// The ticks of one topic, whether or not anybody listened.
#[derive(Debug, Default)]
pub(super) struct TopicTruth {
    /// Time of sending of each tick, by its number.
    pub(super) sent: Vec<u64>,
    /// Time at which the server first confirmed a subscription of the topic.
    pub(super) first_confirmed: Option<u64>,
}

impl TopicTruth {
    /// Returns the number of the first tick that counts: earlier ones were made before the topic was
    /// first subscribed to.
    pub(super) fn first_counted(&self) -> usize {
        self.first_confirmed
            .map_or(self.sent.len(), |from| self.sent.partition_point(|sent| *sent < from))
    }

    /// Returns the time from a tick to the one after it, in nanoseconds.
    pub(super) fn spacing(&self, number: usize) -> u64 {
        let time = |number: usize| self.sent.get(number).copied();
        match (time(number), time(number + 1)) {
            (Some(sent), Some(next)) => next - sent,
            _ => 0,
        }
    }
}

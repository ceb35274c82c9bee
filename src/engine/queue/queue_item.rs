//! The items of the queue.

use crate::base::time::UnixNanos;
use crate::engine::plugin_change::PluginChange;
use crate::plugin::batch::Batch;
use crate::plugin::{SourceEvent, Tick};

/// An item of the queue.
#[derive(Debug)]
pub(crate) enum QueueItem {
    /// Messages.
    Batch(Batch),
    /// The time, about once a second.
    Tick(Tick),
    /// An event of the source, with its time.
    Event(UnixNanos, SourceEvent),
    /// Stages and sinks that take the place of others, with the time of that.
    Plugins(UnixNanos, PluginChange),
}

impl QueueItem {
    /// Merges a [`SourceEvent::Dropped`] into this item, if both are drops of the same cause.
    /// Returns whether they are.
    pub(super) fn try_merge(&mut self, now: UnixNanos, event: &SourceEvent) -> bool {
        match (self, event) {
            (
                Self::Event(
                    at,
                    SourceEvent::Dropped {
                        since: first_since,
                        messages: total,
                        cause: merged_cause,
                    },
                ),
                SourceEvent::Dropped { since, messages, cause },
            ) if merged_cause == cause => {
                *at = now;
                *first_since = *since.min(first_since);
                *total += messages;
                true
            }
            _ => false,
        }
    }
}

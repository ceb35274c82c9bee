//! A sink that gets no more messages and is still to be closed.

use tracing::error;

use super::named_plugin::NamedPlugin;
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;
use crate::plugin::{DropCause, Sink, SourceEvent};

/// A sink that gets no more messages. It is closed after the others, which must not wait for it.
pub(super) struct AbandonedSink {
    sink: NamedPlugin<dyn Sink>,
    missed_messages: u64,
    /// Receive time of the first message that it may have lost.
    missed_since: UnixNanos,
    /// Receive time of the last message that it missed.
    missed_until: UnixNanos,
}

impl AbandonedSink {
    /// Abandons a sink that may have lost messages of this period.
    pub(super) fn new(sink: NamedPlugin<dyn Sink>, since: UnixNanos, until: UnixNanos) -> Self {
        Self { sink, missed_messages: 0, missed_since: since, missed_until: until }
    }

    /// Counts messages that the sink does not get.
    pub(super) fn record_missed(&mut self, messages: u64, received: UnixNanos) {
        self.missed_messages += messages;
        self.missed_until = received;
    }

    /// Forwards an event, for the sink's journal.
    pub(super) fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) {
        // The loss of the sink is logged; it may be able to journal nonetheless.
        drop(self.sink.plugin.on_event(at, event));
    }

    /// Reports the missed messages to the sink, for its journal, and closes it.
    pub(super) fn report_missed_and_close(&mut self) {
        // The sink is abandoned because this fails, which is logged.
        drop(self.sink.plugin.flush());
        let messages = self.missed_messages + self.sink.plugin.buffered();
        if messages > 0 {
            let event = SourceEvent::Dropped {
                since: self.missed_since,
                messages,
                cause: DropCause::GivenUp,
            };
            self.on_event(self.missed_until, &event);
        }
        if let Err(error) = self.sink.plugin.close() {
            error!(sink = self.sink.name, error = %error_chain(&*error), "close failed");
        }
    }
}

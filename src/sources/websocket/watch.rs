//! Watches for the server's answers to our subscriptions.

use std::time::Duration;

use tokio::time::Instant;

use super::answers::{Kind, kind};
use crate::batch::Batch;
use crate::plugin::{Cause, Disconnect};
use crate::stats::Stats;

/// For how long after the connect an answer to a subscription is waited for.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Looks at messages while something depends on what they are, and no longer: what is received at
/// full speed is not looked at.
#[derive(Debug)]
pub(super) struct Watch {
    /// Subscriptions that are not answered yet.
    unanswered: usize,
    until: Instant,
    data_seen: bool,
    /// Whether control messages are left out (`control: "skip"`).
    skip: bool,
}

impl Watch {
    pub(super) fn new(subscriptions: usize, skip: bool) -> Self {
        let until = Instant::now() + ANSWER_TIME;
        Self { unanswered: subscriptions, until, data_seen: false, skip }
    }

    /// Counts the batch's control messages, leaves them out where they are not wanted, and finds
    /// a refused subscription.
    pub(super) fn inspect(&mut self, batch: &mut Batch, stats: &Stats) -> Option<Disconnect> {
        let waiting = !self.data_seen || self.unanswered > 0;
        if !waiting && !self.skip {
            return None;
        }
        let mut refused = None;
        let mut control = 0;
        let mut look = |payload: &[u8]| {
            let kind = kind(payload);
            match &kind {
                Kind::Data => self.data_seen = true,
                Kind::Control | Kind::Subscribed | Kind::Refused(_) => control += 1,
            }
            let is_data = kind == Kind::Data;
            // Only what we asked for can be refused.
            if self.unanswered > 0 && !is_data && kind != Kind::Control {
                self.unanswered -= 1;
                if let Kind::Refused(words) = kind {
                    refused.get_or_insert(words);
                }
            }
            is_data
        };
        if self.skip {
            batch.retain(|record| look(record.payload));
            stats.control_skipped.add(control as u64);
        } else {
            for record in batch.records() {
                look(record.payload);
            }
            batch.set_control(control);
        }
        if waiting && self.data_seen && Instant::now() > self.until {
            self.unanswered = 0;
        }
        refused.map(|words| {
            Disconnect::new(Cause::Refused, format!("the server refused the subscription: {words}"))
        })
    }
}

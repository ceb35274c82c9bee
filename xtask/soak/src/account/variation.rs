//! Keys of the configuration that differ from scenario to scenario.

use fastrand::Rng;
use serde_json::{Value, json};

/// A choice of values, which follows from the seed.
#[derive(Debug)]
pub(super) struct Variation {
    idle_timeout: &'static str,
    request_interval: &'static str,
    topics_per_request: u32,
    read_pacing: &'static str,
    mark_interval: &'static str,
}

impl Variation {
    pub(super) fn new(random: &mut Rng) -> Self {
        let mut choose = |one, other| if random.bool() { one } else { other };
        Self {
            idle_timeout: choose("1m", "1s"),
            request_interval: choose("0", "100ms"),
            read_pacing: choose("5ms", "0"),
            mark_interval: choose("2s", "1s"),
            topics_per_request: random.u32(1..=8),
        }
    }

    /// Returns the keys of the source.
    pub(super) fn source_keys(&self) -> Value {
        json!({
            "idle_timeout": self.idle_timeout,
            "request_interval": self.request_interval,
            "topics_per_request": self.topics_per_request,
            "read_pacing": self.read_pacing,
        })
    }

    /// Returns the keys of the sink.
    pub(super) fn sink_keys(&self) -> Value {
        json!({ "mark_interval": self.mark_interval })
    }
}

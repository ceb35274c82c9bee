//! A stage that drops duplicates of recent messages.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::base::json::Selector;
use crate::base::time::UnixNanos;
use crate::base::units::ConfigDuration;
use crate::metrics::Counter;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// Drops messages that were received before, within `window` and among the last `max_entries`.
///
/// Messages are duplicates when all their bytes are equal, or the text that `key` takes from them.
/// Messages without a key pass.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupConfig {
    /// Key that identifies a message, such as `/data/0/i` or `{/topic} {/data/0/i}`. By default all
    /// bytes of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Selector>,
    /// Time for which a message is remembered. More than 0.
    pub window: ConfigDuration,
    /// Maximum number of messages that are remembered. Each takes about 50 bytes of memory. At
    /// least 1.
    #[schemars(range(min = 1))]
    pub max_entries: u32,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self { key: None, window: ConfigDuration::from_secs(60), max_entries: 100_000 }
    }
}

impl StageConfig for DedupConfig {
    const TYPE: &'static str = "dedup";

    fn example() -> Value {
        json!({ "key": "{/topic} {/data/0/i}", "window": "10s" })
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        if self.window.is_zero() {
            return Err("`window` is 0; it must be more".into());
        }
        if self.max_entries == 0 {
            return Err("`max_entries` is 0; it must be at least 1".into());
        }
        Ok(Box::new(Dedup {
            key: self.key,
            window: self.window.to_duration(),
            max_entries: self.max_entries as usize,
            seed: fastrand::u64(..),
            seen: HashSet::new(),
            order: VecDeque::new(),
            duplicates: context.counter("duplicates"),
            without_key: context.counter("without_key"),
        }))
    }
}

/// The hashes of recent messages.
struct Dedup {
    key: Option<Selector>,
    window: std::time::Duration,
    max_entries: usize,
    /// Seed of the hash, a different one in each run.
    seed: u64,
    /// Hashes of 128 bits: in a year of a thousand messages a second, the probability that two
    /// different messages have the same hash is 10^-18.
    seen: HashSet<u128>,
    /// The same hashes with the times of receipt, oldest first.
    order: VecDeque<SeenMessage>,
    duplicates: Arc<Counter>,
    without_key: Arc<Counter>,
}

/// A message that is remembered.
#[derive(Debug, Clone, Copy)]
struct SeenMessage {
    received: UnixNanos,
    hash: u128,
}

impl Dedup {
    /// Remembers the hash of a message that was received at `now`. Returns whether it is new within
    /// the window.
    fn insert_if_new(&mut self, now: UnixNanos, hash: u128) -> bool {
        let window = self.window;
        let is_expired = |seen: &SeenMessage| seen.received.saturating_add(window) <= now;
        while self.order.front().is_some_and(is_expired) {
            self.remove_oldest();
        }
        if !self.seen.insert(hash) {
            return false;
        }
        if self.order.len() >= self.max_entries {
            self.remove_oldest();
        }
        self.order.push_back(SeenMessage { received: now, hash });
        true
    }

    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.seen.remove(&oldest.hash);
        }
    }
}

impl Stage for Dedup {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        let now = batch.received();
        let mut room = String::new();
        batch.retain(|record| {
            let hash = match &self.key {
                None => xxh3_128_with_seed(record.payload, self.seed),
                Some(key) => {
                    let Some(key) = key.select(record.payload, &mut room) else {
                        self.without_key.add(1);
                        return true;
                    };
                    xxh3_128_with_seed(key.as_bytes(), self.seed)
                }
            };
            let is_new = self.insert_if_new(now, hash);
            self.duplicates.add(u64::from(!is_new));
            is_new
        });
        Ok(())
    }

    fn needs_ticks(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::stage_harness::{StageHarness, StageOutcome};

    #[test]
    fn identical_messages_pass_once_per_window() {
        let mut bench = StageHarness::new::<DedupConfig>(json!({ "window": "10s" })).unwrap();
        assert_eq!(bench.run_at(1, &["a", "b", "a"]).passed, ["a", "b"]);
        assert_eq!(bench.run_at(10, &["b", "c"]).passed, ["c"]);
        assert_eq!(bench.run_at(11, &["a", "c"]).passed, ["a"]);
        assert_eq!(bench.counters().counters["duplicates"], 3);
    }

    #[test]
    fn messages_are_duplicates_only_when_their_keys_match() {
        let keys = json!({ "key": "{/t} {/i}" });
        let mut bench = StageHarness::new::<DedupConfig>(keys).unwrap();
        let StageOutcome { passed, .. } = bench.run(&[
            r#"{"t":"a","i":1,"x":1}"#,
            r#"{"t":"a","i":1,"x":2}"#,
            r#"{"t":"b","i":1}"#,
            "pong",
            "pong",
        ]);
        assert_eq!(passed.len(), 4);
        assert_eq!(bench.counters().counters["without_key"], 2);
    }

    #[test]
    fn no_more_than_max_entries_messages_are_remembered() {
        let mut bench = StageHarness::new::<DedupConfig>(json!({ "max_entries": 2 })).unwrap();
        assert_eq!(bench.run(&["a", "b", "c", "a", "c"]).passed, ["a", "b", "c", "a"]);
    }
}

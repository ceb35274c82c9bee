//! Leaves out what came a short time ago.

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

/// Leaves out messages that came before, within `window` and the last `max_entries`.
///
/// Messages are the same when all their bytes are, or what `key` takes from them. One without a key
/// goes on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupConfig {
    /// What tells messages from each other, such as `/data/0/i` or `{/topic} {/data/0/i}`. By default
    /// all of their bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Selector>,
    /// For how long a message is remembered. More than 0.
    pub window: ConfigDuration,
    /// How many messages are remembered at most: about 50 bytes of memory each. At least 1.
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

struct Dedup {
    key: Option<Selector>,
    window: std::time::Duration,
    max_entries: usize,
    seed: u64,
    /// Of 128 bits: over a year of a thousand messages a second two are taken for the same with a
    /// probability of 10^-18.
    seen: HashSet<u128>,
    /// The same in the order in which they came.
    order: VecDeque<(UnixNanos, u128)>,
    duplicates: Arc<Counter>,
    without_key: Arc<Counter>,
}

impl Dedup {
    /// Whether there was none such in the window.
    fn insert_if_new(&mut self, now: UnixNanos, hash: u128) -> bool {
        let window = self.window;
        let old = |(then, _): &(UnixNanos, u128)| then.saturating_add(window) <= now;
        while self.order.front().is_some_and(old) {
            self.remove_oldest();
        }
        if !self.seen.insert(hash) {
            return false;
        }
        if self.order.len() >= self.max_entries {
            self.remove_oldest();
        }
        self.order.push_back((now, hash));
        true
    }

    fn remove_oldest(&mut self) {
        if let Some((_, hash)) = self.order.pop_front() {
            self.seen.remove(&hash);
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
            let new = self.insert_if_new(now, hash);
            self.duplicates.add(u64::from(!new));
            new
        });
        Ok(())
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
    fn max_entries_bounds_what_is_remembered() {
        let mut bench = StageHarness::new::<DedupConfig>(json!({ "max_entries": 2 })).unwrap();
        assert_eq!(bench.run(&["a", "b", "c", "a", "c"]).passed, ["a", "b", "c", "a"]);
    }
}

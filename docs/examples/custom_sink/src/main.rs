//! A recorder with a sink of its own, which counts the messages of each topic.
//!
//! ```console
//! $ cat output/*.jsonl | cargo run -p custom-sink -- run -config docs/examples/custom_sink/config.json
//! $ cat counts.jsonl
//! {"publicTrade.BTCUSDT":12034,"publicTrade.ETHUSDT":8120}
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streamer::time::UnixNanos;
use streamer::{Batch, BoxError, BuildContext, Registry, Sink, SinkConfig, Tick};

/// Counts the messages of each topic, and appends the counts to a file at an interval.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountsConfig {
    /// The file to which the counts are appended.
    path: PathBuf,
    /// Seconds between two lines of counts.
    every: u64,
}

impl SinkConfig for CountsConfig {
    const TYPE: &'static str = "counts";

    fn example() -> Value {
        json!({ "path": "./counts.jsonl", "every": 60 })
    }

    fn build(self, _: &BuildContext) -> Result<Box<dyn Sink>, BoxError> {
        // Errors of the configuration are returned here, before anything runs. `open` touches the disk.
        if self.every == 0 {
            return Err("`every` is 0; it must be at least 1".into());
        }
        Ok(Box::new(Counts { config: self, file: None, seen: BTreeMap::new(), told: None }))
    }
}

struct Counts {
    config: CountsConfig,
    file: Option<File>,
    seen: BTreeMap<String, u64>,
    told: Option<UnixNanos>,
}

impl Counts {
    fn append(&mut self) -> Result<(), BoxError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(&self.seen)?;
        line.push(b'\n');
        // One write makes the line appear as a whole.
        file.write_all(&line)?;
        self.seen.clear();
        Ok(())
    }
}

impl Sink for Counts {
    fn destination(&self) -> String {
        self.config.path.display().to_string()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        let file = OpenOptions::new().create(true).append(true).open(&self.config.path);
        self.file = Some(file.map_err(|error| format!("{}: {error}", self.config.path.display()))?);
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        for record in batch.records() {
            *self.seen.entry(record.topic.unwrap_or("none").to_owned()).or_default() += 1;
        }
        Ok(())
    }

    fn tick(&mut self, tick: Tick) -> Result<(), BoxError> {
        let told = *self.told.get_or_insert(tick.now);
        if tick.now.seconds() >= told.seconds() + self.config.every {
            self.told = Some(tick.now);
            self.append()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.append()?;
        Ok(self.file.take().map_or(Ok(()), |file| file.sync_all())?)
    }

    fn wants_topics(&self) -> bool {
        true
    }
}

fn main() -> ExitCode {
    streamer::cli::main(Registry::builtin().sink::<CountsConfig>())
}

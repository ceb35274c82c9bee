//! The pipeline thread: takes batches from the queue through the stages into the sinks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::queue::{Consumer, Item, weight};
use crate::batch::Batch;
use crate::errors::error_chain;
use crate::plugin::{BoxError, Sink, Stage};
use crate::stats::Stats;

/// Pauses between attempts at a write that fails.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// A write that goes on failing is spoken of this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A plugin and the name by which messages speak of it, such as `sinks[0] (jsonl)`.
pub(crate) struct Named<T: ?Sized> {
    pub(crate) name: String,
    pub(crate) plugin: Box<T>,
}

/// The disk half of a pipeline.
pub(crate) struct Pump {
    pub(crate) stages: Vec<Named<dyn Stage>>,
    pub(crate) sinks: Vec<Named<dyn Sink>>,
    pub(crate) consumer: Consumer,
    pub(crate) stats: Arc<Stats>,
    /// The last failure that the log was told of, and when.
    pub(crate) told: Option<(String, Instant)>,
}

impl Pump {
    /// Runs until the queue is closed and empty, then closes stages and sinks in this order.
    ///
    /// # Errors
    /// The first stage or sink that could not be closed; all are tried.
    pub(crate) fn run(mut self) -> Result<(), BoxError> {
        loop {
            let item = if let Some(item) = self.consumer.try_pop() {
                item
            } else {
                self.each_sink("flush", Sink::flush);
                let Some(item) = self.consumer.pop() else {
                    break;
                };
                item
            };
            match item {
                Item::Batch(batch) => self.batch(batch),
                Item::Tick(now) => self.each_sink("tick", |sink| sink.tick(now)),
                Item::Event(at, event) => self.each_sink("event", |sink| sink.event(at, &event)),
            }
        }
        self.close()
    }

    fn batch(&mut self, mut batch: Batch) {
        let taken = weight(&batch);
        for stage in &mut self.stages {
            if let Err(error) = stage.plugin.process(&mut batch) {
                self.stats.stage_errors.add(1);
                warn!(stage = stage.name, %error, "stage failed, batch goes on unchanged");
            }
        }
        if !batch.is_empty() {
            for sink in &mut self.sinks {
                write(sink, &batch, &self.stats);
            }
            self.stats.written.add(batch.len() as u64);
            self.stats.written_bytes.add(batch.as_lines().len() as u64);
        }
        self.consumer.give_back(batch, taken);
    }

    fn each_sink(
        &mut self,
        what: &str,
        mut call: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
    ) {
        for sink in &mut self.sinks {
            if let Err(error) = call(&mut *sink.plugin) {
                self.stats.sink_errors.add(1);
                let words = error_chain(&*error);
                // What fails every second is told once a minute.
                let told = self.told.as_ref();
                let told =
                    told.filter(|(told, at)| *told == words && at.elapsed() < REPORT_INTERVAL);
                if told.is_none() {
                    error!(sink = sink.name, error = %words, "{what} failed");
                    self.told = Some((words, Instant::now()));
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let mut first = Ok(());
        let stages = self.stages.iter_mut().map(|stage| (&stage.name, stage.plugin.close()));
        let sinks = self.sinks.iter_mut().map(|sink| (&sink.name, sink.plugin.close()));
        for (name, closed) in stages.chain(sinks) {
            if let Err(error) = closed {
                error!(plugin = name, error = %error_chain(&*error), "close failed");
                if first.is_ok() {
                    first = Err(error);
                }
            }
        }
        first
    }
}

/// Writes the batch, however long it takes: meanwhile the queue fills and `overflow` decides.
fn write(sink: &mut Named<dyn Sink>, batch: &Batch, stats: &Stats) {
    let Err(mut error) = sink.plugin.write(batch) else { return };
    let begun = Instant::now();
    let mut reported: Option<Instant> = None;
    let mut pause = FIRST_RETRY;
    loop {
        stats.sink_errors.add(1);
        let words = error_chain(&*error);
        if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            let stalled_seconds = begun.elapsed().as_secs();
            error!(sink = sink.name, error = %words, stalled_seconds, "write failed, trying again; messages wait in the buffer");
            reported = Some(Instant::now());
        }
        stats.stalled(&sink.name, words);
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_RETRY);
        match sink.plugin.write(batch) {
            Ok(()) => break,
            Err(again) => error = again,
        }
    }
    stats.resumed();
    info!(sink = sink.name, stalled_seconds = begun.elapsed().as_secs(), "writing again");
}

//! Finds the topics of messages, for both threads of a pipeline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::MAX_TOPICS;
use crate::batch::{Batch, Labeler};
use crate::json::Selector;
use crate::stats::Stats;

/// Labels messages, where somebody asks for topics. All copies are of one labeler, so that a number
/// means the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    labeler: Option<Arc<Mutex<Labeler>>>,
    stats: Arc<Stats>,
}

impl Labels {
    /// Labels by what the selector finds; none without one.
    pub(crate) fn new(topic: Option<Selector>, stats: Arc<Stats>) -> Self {
        let labeler = topic.map(|topic| Arc::new(Mutex::new(Labeler::new(topic, MAX_TOPICS))));
        Self { labeler, stats }
    }

    /// Finds the topics of messages that have just been read: what they say of it is still in the cache
    /// of whoever read them. They get numbers and no names: the table of names is a new one whenever
    /// a topic is new while a batch has it, and many batches may wait.
    pub(crate) fn number(&self, batch: &mut Batch) {
        if let Some(mut labeler) = self.labeler() {
            self.find(&mut labeler, batch);
        }
    }

    /// Labels messages that are new, from the source or from a stage.
    pub(crate) fn label(&self, batch: &mut Batch) {
        if batch.topics().is_some() {
            return;
        }
        let Some(mut labeler) = self.labeler() else { return };
        if !batch.is_numbered() {
            self.find(&mut labeler, batch);
        }
        batch.set_names(Arc::clone(labeler.names()));
    }

    fn labeler(&self) -> Option<MutexGuard<'_, Labeler>> {
        // No code that can panic runs under the lock.
        Some(self.labeler.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, labeler: &mut Labeler, batch: &mut Batch) {
        let mut numbers = batch.take_labels();
        labeler.label(batch, &mut numbers);
        batch.set_numbers(numbers);
        let beyond = labeler.take_beyond();
        if beyond > 0 {
            if self.stats.beyond_topics.get() == 0 {
                warn!(
                    "there are more topics than {MAX_TOPICS}; messages of further ones are like such that have none. Is the topic's pointer right?"
                );
            }
            self.stats.beyond_topics.add(beyond);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_wait_hold_no_table_of_names_and_numbers_keep_their_meaning() {
        let topic = Some(Selector::parse("/t").unwrap());
        let labels = Labels::new(topic, Arc::new(Stats::new()));
        let mut waiting: Vec<Batch> = (0..50)
            .map(|number| {
                let mut batch = Batch::new();
                batch.push(format!(r#"{{"t":"topic {number}"}}"#).as_bytes());
                labels.number(&mut batch);
                batch
            })
            .collect();
        let names = Arc::clone(labels.labeler().unwrap().names());
        assert_eq!(Arc::strong_count(&names), 2, "the labeler's and this one");
        for (number, batch) in waiting.iter_mut().enumerate() {
            labels.label(batch);
            let topic = batch.records().next().unwrap().topic.map(str::to_owned);
            assert_eq!(topic, Some(format!("topic {number}")));
        }
    }
}

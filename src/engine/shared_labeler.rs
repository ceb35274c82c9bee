//! Finds the topics of messages, for both threads of a pipeline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::MAX_TOPICS;
use crate::base::json::Selector;
use crate::metrics::PipelineStats;
use crate::plugin::batch::{Batch, TopicLabeler};

/// Labels messages, where somebody asks for topics. All copies are of one labeler, so that a number
/// means the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct SharedLabeler {
    labeler: Option<Arc<Mutex<TopicLabeler>>>,
    stats: Arc<PipelineStats>,
}

impl SharedLabeler {
    /// Labels by what the selector finds; none without one.
    pub(crate) fn new(topic: Option<Selector>, stats: Arc<PipelineStats>) -> Self {
        let labeler = topic.map(|topic| Arc::new(Mutex::new(TopicLabeler::new(topic, MAX_TOPICS))));
        Self { labeler, stats }
    }

    /// Finds the topics of messages that have just been read: what they say of it is still in the cache
    /// of whoever read them. They get numbers and no names: the table of names is a new one whenever
    /// a topic is new while a batch has it, and many batches may wait.
    pub(crate) fn assign_topic_ids(&self, batch: &mut Batch) {
        if let Some(mut labeler) = self.lock_labeler() {
            self.label_batch(&mut labeler, batch);
        }
    }

    /// Labels messages that are new, from the source or from a stage.
    pub(crate) fn attach_topics(&self, batch: &mut Batch) {
        if batch.topics().is_some() {
            return;
        }
        let Some(mut labeler) = self.lock_labeler() else { return };
        if !batch.has_topic_ids() {
            self.label_batch(&mut labeler, batch);
        }
        batch.set_topic_table(Arc::clone(labeler.table()));
    }

    fn lock_labeler(&self) -> Option<MutexGuard<'_, TopicLabeler>> {
        // No code that can panic runs under the lock.
        Some(self.labeler.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn label_batch(&self, labeler: &mut TopicLabeler, batch: &mut Batch) {
        let mut numbers = batch.take_topic_ids();
        labeler.label(batch, &mut numbers);
        batch.set_topic_ids(numbers);
        let beyond = labeler.take_over_limit();
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
    fn queued_batches_hold_no_topic_table_and_ids_stay_stable() {
        let topic = Some(Selector::parse("/t").unwrap());
        let labels = SharedLabeler::new(topic, Arc::new(PipelineStats::new()));
        let mut waiting: Vec<Batch> = (0..50)
            .map(|number| {
                let mut batch = Batch::new();
                batch.push(format!(r#"{{"t":"topic {number}"}}"#).as_bytes());
                labels.assign_topic_ids(&mut batch);
                batch
            })
            .collect();
        let names = Arc::clone(labels.lock_labeler().unwrap().table());
        assert_eq!(Arc::strong_count(&names), 2, "the labeler's and this one");
        for (number, batch) in waiting.iter_mut().enumerate() {
            labels.attach_topics(batch);
            let topic = batch.records().next().unwrap().topic.map(str::to_owned);
            assert_eq!(topic, Some(format!("topic {number}")));
        }
    }
}

//! The labeler that both threads of a pipeline share.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::warn;

use crate::base::json::Selector;
use crate::metrics::PipelineStats;
use crate::plugin::batch::{Batch, MAX_TOPICS, TopicLabeler};

/// Labels messages with their topics, once a plugin of the pipeline asks for topics.
///
/// All clones share one labeler, so that a number means the same topic everywhere.
#[derive(Debug, Clone)]
pub(crate) struct SharedLabeler {
    /// Rule that finds the topic in a message.
    selector: Option<Selector>,
    /// Set once a plugin asks for topics.
    labeler: Arc<OnceLock<Mutex<TopicLabeler>>>,
    stats: Arc<PipelineStats>,
}

impl SharedLabeler {
    /// Creates a labeler that finds topics by the selector, and labels nothing until it is enabled.
    pub(crate) fn new(selector: Option<Selector>, stats: Arc<PipelineStats>) -> Self {
        Self { selector, labeler: Arc::default(), stats }
    }

    /// Makes all clones label messages from now on, if there is a selector.
    pub(crate) fn enable(&self) {
        if let Some(selector) = &self.selector {
            let create = || Mutex::new(TopicLabeler::new(selector.clone(), MAX_TOPICS));
            self.labeler.get_or_init(create);
        }
    }

    /// Numbers the topics of messages that have just been read, while they are in the CPU cache.
    ///
    /// The table of names is attached later. Appending to a table that a batch holds copies it, and
    /// many batches may wait in the queue.
    pub(crate) fn assign_topic_ids(&self, batch: &mut Batch) {
        if let Some(mut labeler) = self.lock_labeler() {
            self.label_batch(&mut labeler, batch);
        }
    }

    /// Attaches topic numbers and names to messages that lack them: from the source or from a
    /// stage.
    pub(crate) fn attach_topics(&self, batch: &mut Batch) {
        if batch.topics().is_some() {
            return;
        }
        // Without a labeler no plugin asks for topics.
        let Some(mut labeler) = self.lock_labeler() else { return };
        if !batch.has_topic_ids() {
            self.label_batch(&mut labeler, batch);
        }
        batch.set_topic_table(labeler.table().clone());
    }

    fn lock_labeler(&self) -> Option<MutexGuard<'_, TopicLabeler>> {
        // No code that can panic runs under the lock.
        Some(self.labeler.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn label_batch(&self, labeler: &mut TopicLabeler, batch: &mut Batch) {
        let mut topic_ids = batch.take_topic_ids();
        labeler.label(batch, &mut topic_ids);
        batch.set_topic_ids(topic_ids);
        let over_limit = labeler.take_over_limit();
        if over_limit > 0 {
            if self.stats.beyond_topics.get() == 0 {
                warn!(
                    "there are more topics than {MAX_TOPICS}; messages of further topics are treated as messages without one. Is the topic's pointer right?"
                );
            }
            self.stats.beyond_topics.add(over_limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_batches_hold_no_topic_table_and_ids_stay_stable() {
        let selector = Some(Selector::parse("/t").unwrap());
        let labels = SharedLabeler::new(selector, Arc::new(PipelineStats::new()));
        labels.enable();
        let mut waiting: Vec<Batch> = (0..50)
            .map(|number| {
                let mut batch = Batch::new();
                batch.push(format!(r#"{{"t":"topic {number}"}}"#).as_bytes());
                labels.assign_topic_ids(&mut batch);
                batch
            })
            .collect();
        let table = labels.lock_labeler().unwrap().table().clone();
        assert_eq!(table.share_count(), 2, "the labeler's and this one");
        for (number, batch) in waiting.iter_mut().enumerate() {
            labels.attach_topics(batch);
            let topic = batch.records().next().unwrap().topic.map(str::to_owned);
            assert_eq!(topic, Some(format!("topic {number}")));
        }
    }
}

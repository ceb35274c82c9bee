//! Finds the topics of messages, for both threads of a pipeline.

use std::sync::{Arc, Mutex, PoisonError};

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

    /// Labels messages that are new, from the source or from a stage. Where they have just been read
    /// that is cheap: what they say of their topic is still in the cache of whoever read it.
    pub(crate) fn label(&self, batch: &mut Batch) {
        let Some(labeler) = self.labeler.as_ref().filter(|_| batch.topics().is_none()) else {
            return;
        };
        // No code that can panic runs under the lock.
        let mut labeler = labeler.lock().unwrap_or_else(PoisonError::into_inner);
        let mut labels = batch.take_labels();
        labeler.label(batch, &mut labels);
        batch.set_topics(labels, Arc::clone(labeler.names()));
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

//! Changes a pipeline while it runs.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tracing::{Instrument, Span, info_span};

use super::connection_group::ConnectionGroup;
use super::connection_slot::{ConnectionSlot, build_slots};
use super::fixed_parts::FixedParts;
use super::plugin_change::{PluginChange, SinkChange};
use super::slot_notice::{Adoption, SlotNotice, SourceChange};
use crate::metrics::PluginStats;
use crate::plugin::{BoxError, ConfigChange, ShardIndex, Source, SourceEvent, SourceScope};

/// Changes a pipeline while it runs.
#[derive(Default)]
pub(crate) struct PipelineControl {
    /// Present while the pipeline reads from its sources.
    running: Mutex<Option<RunningSources>>,
}

/// The sources of a running pipeline.
pub(super) struct RunningSources {
    /// All shards that there ever were, by their index.
    shards: Vec<RunningShard>,
    /// The slots of shards that were added.
    added: JoinSet<Result<(), BoxError>>,
    /// Span of the pipeline, for the log.
    span: Span,
    /// Endpoint of the sources.
    endpoint: String,
    fixed: FixedParts,
    /// Counters of the stages and of the sinks, for the status.
    stage_stats: Vec<Arc<PluginStats>>,
    sink_stats: Vec<Arc<PluginStats>>,
}

/// A reason for which a pipeline cannot take over other sources while it runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error("it has ended")]
    Ended,
    #[error("`source.connections`")]
    Connections,
    #[error("the topic is at another place in the messages (`source.topic_pointer`)")]
    TopicSelector,
    #[error("there would be no topic any more, or there were none before")]
    NoTopics,
}

/// A part of the topics, with the slots that keep its connections.
pub(super) struct RunningShard {
    group: Arc<ConnectionGroup>,
    slots: Vec<Sender<SlotNotice>>,
    /// Set once no topic is left.
    is_retired: bool,
}

impl RunningShard {
    pub(super) fn new(group: Arc<ConnectionGroup>, slots: &[ConnectionSlot]) -> Self {
        let slots = slots.iter().map(ConnectionSlot::notices).collect();
        Self { group, slots, is_retired: false }
    }
}

/// The change of a pipeline's topics that has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AppliedChange {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
}

/// The two configurations of a change, each by the SHA-256 of its resolved form.
#[derive(Debug, Clone)]
pub(crate) struct ConfigDigests {
    pub(crate) old: String,
    pub(crate) new: String,
}

/// A notice to a slot, which is sent once nothing is locked.
type Outbox = Vec<(Sender<SlotNotice>, SlotNotice)>;

impl PipelineControl {
    /// Takes note that the pipeline reads from its sources.
    pub(super) fn start(&self, running: RunningSources) {
        *self.lock_running() = Some(running);
    }

    /// Takes the slots that were added. Returns `None` if there are none, after which none can be
    /// added.
    pub(super) fn take_added(&self) -> Option<JoinSet<Result<(), BoxError>>> {
        let mut running = self.lock_running();
        let added = running.as_mut().map(|running| std::mem::take(&mut running.added));
        let added = added.filter(|added| !added.is_empty());
        if added.is_none() {
            *running = None;
        }
        added
    }

    /// Returns the topics of each source, or `None` if the pipeline does not read.
    pub(crate) fn shards(&self) -> Option<Vec<Vec<String>>> {
        let running = self.lock_running();
        let topics = |shard: &RunningShard| shard.group.scope().topics.to_vec();
        Some(running.as_ref()?.shards.iter().map(topics).collect())
    }

    /// Tells the sinks of another configuration by which nothing changes for the pipeline.
    pub(crate) fn announce(&self, digests: &ConfigDigests) {
        let running = self.lock_running();
        let Some(running) = running.as_ref() else { return };
        let topics = all_topics(&running.shards);
        let ConfigDigests { old, new } = digests.clone();
        let endpoint = running.endpoint.clone();
        running.send_event(ConfigChange { old, new, endpoint, topics, ..ConfigChange::default() });
    }

    /// Returns the reason for which the pipeline cannot take over the sources, if there is one.
    /// `fixed` are the parts that a pipeline with these sources has.
    pub(crate) fn obstacle_to(
        &self,
        sources: &[Box<dyn Source>],
        fixed: &FixedParts,
    ) -> Option<Obstacle> {
        let running = self.lock_running();
        let Some(running) = running.as_ref() else { return Some(Obstacle::Ended) };
        let mut pairs = running.shards.iter().zip(sources);
        let are_alike = pairs.all(|(shard, source)| {
            shard.is_retired || shard.slots.len() == source.connection_policy().connections.max(1)
        });
        let has_topics = sources.iter().any(|source| !source.topics().is_empty());
        let had_topics = running.shards.iter().any(|shard| !shard.group.scope().topics.is_empty());
        if running.fixed.topic_selector != fixed.topic_selector {
            Some(Obstacle::TopicSelector)
        } else if has_topics != had_topics {
            Some(Obstacle::NoTopics)
        } else if !are_alike {
            Some(Obstacle::Connections)
        } else {
            None
        }
    }

    /// Replaces the sources. Each takes the place of the one with the same index, others are added,
    /// and one without topics ends. Returns `None` if the pipeline does not read any more.
    pub(crate) async fn replace_sources(
        &self,
        sources: Vec<Box<dyn Source>>,
        change: SourceChange,
        digests: &ConfigDigests,
    ) -> Option<AppliedChange> {
        let mut outbox = Outbox::new();
        let applied = self.lock_running().as_mut()?.replace(sources, change, digests, &mut outbox);
        for (slot, notice) in outbox {
            // A slot that has ended needs no notice.
            drop(slot.send(notice).await);
        }
        Some(applied)
    }

    /// Returns the positions of the sinks whose destinations would differ with these parts.
    pub(crate) fn moved_sinks(&self, fixed: &FixedParts) -> Vec<usize> {
        let running = self.lock_running();
        running.iter().flat_map(|running| running.fixed.moved_sinks(fixed)).collect()
    }

    /// Replaces stages and sinks between two batches. What the former ones hold back goes before.
    /// `fixed` are the parts of the pipeline from then on.
    pub(crate) fn replace_plugins(&self, change: PluginChange, fixed: FixedParts) {
        let mut running = self.lock_running();
        let Some(running) = running.as_mut() else { return };
        let Some(RunningShard { group, .. }) = running.shards.first() else { return };
        if let Some(stages) = &change.stages {
            running.stage_stats = stages.iter().map(|stage| Arc::clone(&stage.stats)).collect();
        }
        let none = Arc::new(PluginStats::new(""));
        running.sink_stats.resize(fixed.destinations.len(), none);
        for SinkChange { index, sink } in &change.sinks {
            if let (Some(place), Some(new)) = (running.sink_stats.get_mut(*index), sink) {
                *place = Arc::clone(&new.sink.stats);
            }
        }
        if fixed.labels_topics {
            group.labeler.enable();
        }
        running.fixed.destinations = fixed.destinations;
        let plugins = running.stage_stats.iter().chain(&running.sink_stats).cloned().collect();
        group.stats.set_plugins(plugins);
        group.producer.push_plugins(group.clock.now(), change);
    }

    fn lock_running(&self) -> MutexGuard<'_, Option<RunningSources>> {
        // No code that can panic runs under the lock.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningSources {
    pub(super) fn new(
        shards: Vec<RunningShard>,
        endpoint: String,
        fixed: FixedParts,
        stage_stats: Vec<Arc<PluginStats>>,
        sink_stats: Vec<Arc<PluginStats>>,
    ) -> Self {
        let span = Span::current();
        let added = JoinSet::new();
        Self { shards, added, span, endpoint, fixed, stage_stats, sink_stats }
    }

    fn replace(
        &mut self,
        sources: Vec<Box<dyn Source>>,
        change: SourceChange,
        digests: &ConfigDigests,
        outbox: &mut Outbox,
    ) -> AppliedChange {
        let before = all_topics(&self.shards);
        let topics: Vec<String> =
            sources.iter().flat_map(|source| source.topics()).cloned().collect();
        let added = difference(&topics, &before);
        let removed = difference(&before, &topics);
        let applied = AppliedChange { added: added.clone(), removed: removed.clone() };
        let has_topics = !topics.is_empty();
        let ends = |source: &dyn Source| has_topics && source.topics().is_empty();
        let running = self.shards.iter().zip(&sources).enumerate();
        let removed_shards = running
            .filter(|(_, (shard, source))| !shard.is_retired && ends(&***source))
            .map(|(index, _)| ShardIndex::new(index))
            .collect();
        let ConfigDigests { old, new } = digests.clone();
        self.endpoint = sources.first().map(|source| source.endpoint()).unwrap_or_default();
        let endpoint = self.endpoint.clone();
        // Before anything of the topics that are added, and before the end of those that are gone.
        self.send_event(ConfigChange {
            old,
            new,
            endpoint,
            topics,
            added,
            removed,
            removed_shards,
        });
        let shard_count = sources.len();
        for (index, source) in sources.into_iter().enumerate() {
            let shard = ShardIndex::new(index);
            let scope = SourceScope { shard, shard_count, topics: source.topics().into() };
            let ends = ends(&*source);
            match self.shards.get_mut(index) {
                Some(running) if running.is_retired => {}
                Some(running) => running.replace(source, scope, change, ends, outbox),
                None => self.add_shard(source, scope),
            }
        }
        // A source that is split less than before.
        for shard in self.shards.iter_mut().skip(shard_count) {
            shard.retire(outbox);
        }
        applied
    }

    fn add_shard(&mut self, source: Box<dyn Source>, scope: SourceScope) {
        let Some(first) = self.shards.first() else { return };
        let number = scope.shard.get();
        let group = Arc::new(first.group.for_shard(scope));
        let slots = build_slots(&group, source);
        self.shards.push(RunningShard::new(group, &slots));
        for slot in slots {
            let span = info_span!(parent: &self.span, "connection", number);
            self.added.spawn(slot.run().instrument(span));
        }
    }

    /// Sends the sinks a change, in its place behind the messages so far.
    fn send_event(&self, change: ConfigChange) {
        let Some(RunningShard { group, .. }) = self.shards.first() else { return };
        group.producer.push_event(group.clock.now(), SourceEvent::ConfigChanged(Arc::new(change)));
    }
}

impl RunningShard {
    fn replace(
        &mut self,
        source: Box<dyn Source>,
        scope: SourceScope,
        change: SourceChange,
        ends: bool,
        outbox: &mut Outbox,
    ) {
        let is_same = change == SourceChange::Topics && self.group.scope().topics == scope.topics;
        self.group.set_scope(scope);
        if ends {
            return self.retire(outbox);
        }
        if is_same {
            return;
        }
        let mut source = Some(source);
        for slot in &self.slots {
            let copy = source.as_ref().and_then(|source| source.duplicate());
            if let Some(source) = source.take() {
                outbox.push((slot.clone(), SlotNotice::Adopt(Adoption { source, change })));
            }
            source = copy;
        }
    }

    fn retire(&mut self, outbox: &mut Outbox) {
        self.is_retired = true;
        outbox.extend(self.slots.iter().map(|slot| (slot.clone(), SlotNotice::Retire)));
    }
}

/// Returns the topics of all shards.
fn all_topics(shards: &[RunningShard]) -> Vec<String> {
    shards.iter().flat_map(|shard| shard.group.scope().topics.to_vec()).collect()
}

/// Returns the topics that are in the first list and not in the second one.
fn difference(topics: &[String], others: &[String]) -> Vec<String> {
    let others: HashSet<&String> = others.iter().collect();
    topics.iter().filter(|topic| !others.contains(topic)).cloned().collect()
}

//! What a slot is told.

use super::milestone::MilestoneNotice;
use crate::plugin::Source;

/// What a slot is told, by its connections and by a reload of the configuration.
pub(super) enum SlotNotice {
    /// A connection has made progress.
    Milestone(MilestoneNotice),
    /// The connection is to be one of this source from now on.
    Adopt(Adoption),
    /// No connection is needed any more.
    Retire,
}

/// A source that takes the place of the one that a slot has.
pub(super) struct Adoption {
    pub(super) source: Box<dyn Source>,
    pub(super) change: SourceChange,
}

/// The difference between two configurations of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceChange {
    /// The topics differ at most, which a connection may take over.
    Topics,
    /// Other keys differ: a new connection is needed.
    Whole,
}

//! The position of a topic writer.

/// The position of a writer among the [topic writers](super::topic_writers::TopicWriters) of a
/// sink.
///
/// Only adding a writer makes a new index, and writers are never removed: every index leads to a
/// writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WriterIndex(u32);

impl WriterIndex {
    /// The first writer: the only one, or the one for lines without a topic.
    pub(super) const FIRST: Self = Self(0);

    /// Returns the index of the writer at this position.
    ///
    /// # Panics
    /// At 2^32 writers, of which each takes more than a byte of memory and most an open file.
    pub(super) fn from_position(position: usize) -> Self {
        Self(u32::try_from(position).expect("a sink has fewer than 2^32 writers"))
    }

    /// Returns the position in the list of writers.
    pub(super) const fn position(self) -> usize {
        self.0 as usize
    }
}

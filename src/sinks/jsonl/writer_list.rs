//! The list of topic writers.

use super::topic_writer::TopicWriter;
use super::writer_index::WriterIndex;

/// A list of topic writers that is never empty and never shrinks, so that every [`WriterIndex`]
/// leads to a writer.
pub(super) struct WriterList(Vec<TopicWriter>);

impl WriterList {
    /// Returns a list of one writer, at [`WriterIndex::FIRST`].
    pub(super) fn new(first: TopicWriter) -> Self {
        Self(vec![first])
    }

    /// Appends a writer and returns its index.
    pub(super) fn push(&mut self, writer: TopicWriter) -> WriterIndex {
        self.0.push(writer);
        WriterIndex::from_position(self.0.len() - 1)
    }

    /// Returns the number of writers.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the writer at the index.
    pub(super) fn get(&self, index: WriterIndex) -> &TopicWriter {
        self.0.get(index.position()).expect("writers are never removed")
    }

    /// Returns the writer at the index, for changes.
    pub(super) fn get_mut(&mut self, index: WriterIndex) -> &mut TopicWriter {
        self.0.get_mut(index.position()).expect("writers are never removed")
    }

    /// Returns the indices of all writers that the list has at this moment.
    pub(super) fn indices(&self) -> impl Iterator<Item = WriterIndex> + use<> {
        (0..self.0.len()).map(WriterIndex::from_position)
    }

    /// Returns all writers in the order of their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TopicWriter> {
        self.0.iter()
    }

    /// Returns all writers in the order of their indices, for changes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TopicWriter> {
        self.0.iter_mut()
    }
}

//! The list of topic writers.

use super::topic_writer::TopicWriter;
use super::writer_index::WriterIndex;

/// A list of topic writers that is never empty and never shrinks, so that every [`WriterIndex`]
/// leads to a writer.
pub(super) struct WriterList {
    writers: Vec<TopicWriter>,
    /// The writers without a topic of their own.
    shared: Vec<WriterIndex>,
}

impl WriterList {
    /// Returns a list of one writer, at [`WriterIndex::FIRST`].
    pub(super) fn new(first: TopicWriter) -> Self {
        let mut list = Self { writers: Vec::new(), shared: Vec::new() };
        list.push(first);
        list
    }

    /// Appends a writer and returns its index.
    pub(super) fn push(&mut self, writer: TopicWriter) -> WriterIndex {
        let index = WriterIndex::from_position(self.writers.len());
        if writer.subscribed_topic().is_none() {
            self.shared.push(index);
        }
        self.writers.push(writer);
        index
    }

    /// Takes note that a writer has a topic of its own from now on.
    pub(super) fn unshare(&mut self, index: WriterIndex) {
        self.shared.retain(|shared| *shared != index);
    }

    /// Returns the writers without a topic of their own, whose journals record the events of all
    /// topics.
    pub(super) fn shared(&self) -> &[WriterIndex] {
        &self.shared
    }

    /// Returns the number of writers.
    pub(super) fn len(&self) -> usize {
        self.writers.len()
    }

    /// Returns the writer at the index.
    pub(super) fn get(&self, index: WriterIndex) -> &TopicWriter {
        self.writers.get(index.position()).expect("writers are never removed")
    }

    /// Returns the writer at the index, for changes.
    pub(super) fn get_mut(&mut self, index: WriterIndex) -> &mut TopicWriter {
        self.writers.get_mut(index.position()).expect("writers are never removed")
    }

    /// Returns the indices of all writers that the list has at this moment.
    pub(super) fn indices(&self) -> impl Iterator<Item = WriterIndex> + use<> {
        (0..self.writers.len()).map(WriterIndex::from_position)
    }

    /// Returns all writers in the order of their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TopicWriter> {
        self.writers.iter()
    }

    /// Returns all writers in the order of their indices, for changes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TopicWriter> {
        self.writers.iter_mut()
    }
}

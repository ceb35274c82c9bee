//! A value for each topic of a connection.

use std::ops::{Index, IndexMut};

/// The position of a topic in the list of topics of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicIndex(usize);

#[cfg(test)]
impl TopicIndex {
    pub(super) fn new(index: usize) -> Self {
        Self(index)
    }
}

/// One value for each topic of a connection, addressed by [`TopicIndex`].
///
/// An index is made by a `TopicVec` of the same connection, so that it is always in bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicVec<T>(Vec<T>);

impl<T> TopicVec<T> {
    pub(super) fn new(values: Vec<T>) -> Self {
        Self(values)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// Returns the index of every topic, in order.
    pub(super) fn indexes(&self) -> impl Iterator<Item = TopicIndex> + use<T> {
        (0..self.0.len()).map(TopicIndex)
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Appends a value for a further topic and returns its index.
    pub(super) fn push(&mut self, value: T) -> TopicIndex {
        self.0.push(value);
        TopicIndex(self.0.len() - 1)
    }
}

impl<T: Clone> TopicVec<T> {
    /// Creates a vector that holds `value` for each of `count` topics.
    pub(super) fn filled(value: T, count: usize) -> Self {
        Self(vec![value; count])
    }

    /// Replaces every value.
    pub(super) fn fill(&mut self, value: T) {
        self.0.fill(value);
    }
}

impl<T> Index<TopicIndex> for TopicVec<T> {
    type Output = T;

    #[expect(clippy::indexing_slicing, reason = "an index is in bounds by construction")]
    fn index(&self, index: TopicIndex) -> &T {
        &self.0[index.0]
    }
}

impl<T> IndexMut<TopicIndex> for TopicVec<T> {
    #[expect(clippy::indexing_slicing, reason = "an index is in bounds by construction")]
    fn index_mut(&mut self, index: TopicIndex) -> &mut T {
        &mut self.0[index.0]
    }
}

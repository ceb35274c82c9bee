//! The numbers of topics, and their names.

use std::sync::Arc;

/// The number of a topic within a [`TopicLabeler`](super::TopicLabeler), from 1; 0 stands for no
/// topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u32);

impl TopicId {
    /// The number of messages without a topic: answers, pongs, heartbeats.
    pub const NONE: Self = Self(0);

    /// Returns the identifier with this number, or `None` if there is no room for it in 32 bits.
    pub(super) fn new(number: usize) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }

    /// Returns whether the number stands for no topic.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the position of the topic's name in a [`TopicTable`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The names of topics by their numbers.
///
/// Names are only appended, so a number never changes its meaning. A clone shares the names.
#[derive(Debug, Clone)]
pub struct TopicTable {
    /// The first entry is empty: it is that of [`TopicId::NONE`].
    names: Arc<Vec<Arc<str>>>,
}

impl TopicTable {
    /// Creates a table of these names; the first gets the number 1.
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = std::iter::once("").chain(names).map(Arc::from).collect();
        Self { names: Arc::new(names) }
    }

    /// Appends a name. Its number is the length of the table before.
    pub(super) fn push(&mut self, name: Arc<str>) {
        Arc::make_mut(&mut self.names).push(name);
    }

    /// Returns the name of a topic; `None` for [`TopicId::NONE`].
    ///
    /// # Panics
    /// Panics if the number is of another labeler and not in this table.
    pub fn name(&self, id: TopicId) -> Option<&str> {
        if id.is_none() {
            return None;
        }
        let name = self.names.get(id.index());
        Some(name.expect("a batch is labeled with the table of its labeler"))
    }

    /// Returns the number of entries: one more than there are topics.
    #[expect(clippy::len_without_is_empty, reason = "a table always has the entry of no topic")]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns the names in the order of their numbers. The first entry is empty and stands for
    /// [`TopicId::NONE`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Returns the number of clones that share the names, with this one.
    #[cfg(test)]
    pub(crate) fn share_count(&self) -> usize {
        Arc::strong_count(&self.names)
    }
}

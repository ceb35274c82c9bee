//! The position of a connection within its group.

/// The position, from 0, of a connection or an attempt to make one within its group.
///
/// Unlike a [`ConnectionId`](crate::plugin::ConnectionId), a line exists before the connection is
/// established, and its index is used again after the connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LineIndex(usize);

impl LineIndex {
    /// Returns the lowest index that is not in use.
    pub(super) fn lowest_free(is_used: impl Fn(Self) -> bool) -> Self {
        let mut index = Self(0);
        while is_used(index) {
            index.0 += 1;
        }
        index
    }
}

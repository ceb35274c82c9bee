//! One step of a pointer.

/// One step of a pointer: a key, and the array index that the key spells, if it spells one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PointerToken {
    pub(super) key: String,
    pub(super) index: Option<usize>,
}

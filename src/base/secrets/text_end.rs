//! The end of a text that is masked.

/// The certainty that a text ends where its author ended it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TextEnd {
    Whole,
    Cut,
}

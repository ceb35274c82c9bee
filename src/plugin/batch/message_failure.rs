//! The messages on which stages fail.

/// A message on which a stage failed, or that it rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFailure {
    /// Position of the message in the batch.
    pub index: usize,
    /// Reason in words.
    pub reason: String,
    /// Kind of failure, which decides whether `on_error` applies.
    pub kind: FailureKind,
}

/// The kind of a [`MessageFailure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The stage could not process the message: `on_error` decides what happens to it.
    Failed,
    /// The stage rejected the message: it is set aside in any case.
    Rejected,
}

//! The `on_error` key of stages.

/// Action for a message on which a stage fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The message continues unchanged.
    #[default]
    Pass,
    /// The message is set aside.
    Reject,
}

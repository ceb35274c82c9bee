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

impl OnError {
    /// All actions.
    pub(super) const ALL: [Self; 2] = [Self::Pass, Self::Reject];

    /// Returns the value of the key in the configuration.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Reject => "reject",
        }
    }
}

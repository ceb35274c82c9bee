//! The amount of detail in the log.

/// The amount of detail in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Messages of level `INFO` and above, to the configured destinations.
    #[default]
    Normal,
    /// Messages of level `DEBUG` and above, to stdout as well.
    Debug,
}

//! The identity of a recording.

/// The identity of a recording, as its journals state it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// A text that no other recording has.
    pub id: String,
    /// The SHA-256 of the resolved configuration, in which secrets are as in the file: `${NAME}`.
    pub config_digest: String,
    /// The endpoint of the pipeline, see [`Source::endpoint`](super::Source::endpoint).
    pub endpoint: String,
}

//! Messages that are set aside, and sinks that are gone.

use serde::Serialize;

use crate::base::time::UnixNanos;

/// A message that a stage refused, set aside with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedMessage {
    /// When it was received, Unix nanoseconds.
    #[serde(serialize_with = "serialize_nanos")]
    pub t: UnixNanos,
    /// The stage, as `stages[0] (validate)`.
    pub stage: String,
    /// Why.
    pub error: String,
    /// Its topic, where the pipeline knows topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The message as text; bytes that are no UTF-8 are escaped as `\xFF`.
    pub data: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn serialize_nanos<S: serde::Serializer>(t: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(t.nanos())
}

/// The error of a sink whose destination is gone and will not come back, such as a pipe that nobody
/// reads any more: waiting heals nothing. A required sink ends its pipeline with it, any other gets
/// no more messages.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DestinationGone(pub String);

//! Messages that stages set aside.

use serde::Serialize;

use crate::base::time::UnixNanos;

/// A message that a stage rejected, set aside with the reason.
///
/// The fields are those of a line in a `.rejects` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedMessage {
    /// Time at which the message was received, written as Unix nanoseconds.
    #[serde(serialize_with = "serialize_nanos")]
    pub t: UnixNanos,
    /// Name of the stage, such as `stages[0] (validate)`.
    pub stage: String,
    /// Reason for the rejection.
    pub error: String,
    /// Topic of the message, if the pipeline determines topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The message as text; bytes that are not UTF-8 are escaped as `\xFF`.
    pub data: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn serialize_nanos<S: serde::Serializer>(t: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(t.nanos())
}

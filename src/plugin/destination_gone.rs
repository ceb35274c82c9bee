//! The error of a sink that cannot continue.

/// The error of a sink whose destination is gone for good, such as a pipe whose reader has exited.
///
/// The engine does not retry. A required sink ends its pipeline with this error; an optional sink
/// receives no more messages. The field describes the loss.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DestinationGone(pub String);

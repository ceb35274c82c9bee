//! The verdicts of stages on messages.

use crate::plugin::BoxError;

/// The verdict of a stage on a message.
#[derive(Debug)]
pub enum MessageVerdict {
    /// The message continues.
    Keep,
    /// The message is left out.
    Drop,
    /// The stage could not judge the message, for this reason.
    ///
    /// The message continues unchanged and is counted, or is set aside if the stage has
    /// `on_error: "reject"`.
    Fail(BoxError),
    /// The message is set aside, for this reason.
    Reject(BoxError),
}

//! The error type of the plugin contract.

use std::error::Error;

/// Any error, on its way to a log line or to the user.
pub type BoxError = Box<dyn Error + Send + Sync>;

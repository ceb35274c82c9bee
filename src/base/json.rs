//! Finds a value in a JSON message without parsing all of the message.
//!
//! The text is walked from its start to the value, and no further: what precedes the value is
//! skipped, not validated, and what follows it is not looked at. A text that is not JSON yields
//! nothing or an arbitrary part of itself, and never a panic.

mod cached_selector;
mod json_cursor;
mod pointer;
mod pointer_token;
mod scalar;
mod selector;

pub(crate) use self::cached_selector::{CachedSelector, RawKey};
pub use self::pointer::{Pointer, PointerError};
pub(crate) use self::scalar::Scalar;
pub use self::scalar::scalar_text;
pub use self::selector::{Selector, SelectorError};

#[cfg(test)]
mod tests;

//! The ratio of raw to stored bytes.

use std::fmt;

/// The ratio of raw to stored bytes, formatted as `8.3x`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompressionRatio {
    pub(crate) raw_bytes: u64,
    pub(crate) stored_bytes: u64,
}

impl fmt::Display for CompressionRatio {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people, one decimal")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1}x", self.raw_bytes as f64 / self.stored_bytes.max(1) as f64))
    }
}

//! The content of a sealed file, as `sealing` and `sealed` events record it.

use serde::{Deserialize, Serialize};

use crate::archive::sha256_hash::Sha256Hash;
use crate::base::time::UnixNanos;

/// The size and hashes of a sealed file and of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealRecord {
    /// Bytes of all lines.
    pub raw_bytes: u64,
    /// Number of lines.
    pub messages: u64,
    /// SHA-256 of the lines.
    pub raw_sha256: Sha256Hash,
    /// Bytes of the `.jsonl.zst`.
    pub stored_bytes: u64,
    /// SHA-256 of the `.jsonl.zst`.
    pub stored_sha256: Sha256Hash,
    /// True if the last line has no line feed. Only other programs seal such lines.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
    /// Origin of the lines that were sealed last; `None` for a file that another program sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<SealedPart>,
}

/// The lines that one run of sealing added, and the `.jsonl` that held them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPart {
    /// Bytes of these lines, which were the start of the `.jsonl`.
    pub bytes: u64,
    /// SHA-256 of these lines.
    pub sha256: Sha256Hash,
    /// Inode of the `.jsonl`.
    pub inode: u64,
    /// Time at which the `.jsonl` was last modified.
    pub modified: UnixNanos,
    /// Time at which the `.jsonl` was created, if the file system records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<UnixNanos>,
}

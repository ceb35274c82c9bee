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

impl SealRecord {
    /// Returns whether the lines that were sealed last are those of a part of the hour.
    pub(in crate::archive) fn is_of_part(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.number.is_some())
    }
}

/// The lines that one run of sealing added, and the `.jsonl` that held them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPart {
    /// Number of the part of the hour that held them; `None` for the `.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
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

//! The warning for secrets that others can read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::base::literal_secrets::{LiteralSecret, find_literal_secrets};

/// Bits of a mode by which the group and others may read.
const GROUP_READ: u32 = 0o040;
const OTHERS_READ: u32 = 0o004;

/// Returns a warning if the file holds secrets literally and other users can read it.
pub(super) fn exposure_warning(file: &Path, keys: &Map<String, Value>) -> Option<String> {
    let metadata = fs::metadata(file).ok()?;
    // Whoever reads the file as a member of its group needs the bit of the group.
    let is_owner = metadata.uid() == rustix::process::geteuid().as_raw();
    let exposing = if is_owner { GROUP_READ | OTHERS_READ } else { OTHERS_READ };
    if metadata.mode() & exposing == 0 {
        return None;
    }
    let is_literal = |secret: &LiteralSecret| {
        secret.is_named && !secret.values.iter().any(|value| value.contains("${"))
    };
    let found = find_literal_secrets(&Value::Object(keys.clone())).into_iter().filter(is_literal);
    let mut paths: Vec<String> = found.map(|secret| format!("`{}`", secret.path)).collect();
    paths.dedup();
    if paths.is_empty() {
        return None;
    }
    let file = file.display();
    let mode = metadata.mode() & 0o777;
    Some(format!(
        "other users can read `{file}` (mode {mode:04o}), which holds secrets in {}: write them as `${{NAME}}`, or run `chmod 600 {file}`",
        paths.join(", ")
    ))
}

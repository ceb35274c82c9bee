//! The warning for secrets that others can read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use super::literal_secrets::{LiteralSecret, find_literal_secrets};

/// Bits of a mode by which the group and others may read.
const GROUP_READ: u32 = 0o040;
const OTHERS_READ: u32 = 0o004;

/// Maximum number of places that a warning names.
const MAX_PATHS: usize = 8;
/// Maximum length of the name of a place in characters.
const MAX_PATH_CHARS: usize = 80;

/// Returns a warning if the file holds secrets literally and other users can read it.
pub(crate) fn exposure_warning(file: &Path, content: &Value) -> Option<String> {
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
    let found = find_literal_secrets(content).into_iter().filter(is_literal);
    let mut paths: Vec<String> = found.map(|secret| secret.path).collect();
    paths.dedup();
    if paths.is_empty() {
        return None;
    }
    let more = match paths.len().saturating_sub(MAX_PATHS) {
        0 => String::new(),
        more => format!(" and {more} more places"),
    };
    let shown: Vec<String> =
        paths.iter().take(MAX_PATHS).map(|path| format!("`{}`", bounded(path))).collect();
    let file = file.display();
    let mode = metadata.mode() & 0o777;
    Some(format!(
        "other users can read `{file}` (mode {mode:04o}), which holds secrets in {}{more}: write them as `${{NAME}}`, or run `chmod 600 {file}`",
        shown.join(", ")
    ))
}

/// Returns the name of a place, cut if it is long.
fn bounded(path: &str) -> String {
    match path.char_indices().nth(MAX_PATH_CHARS) {
        Some((end, _)) => path.split_at(end).0.to_owned() + "…",
        None => path.to_owned(),
    }
}

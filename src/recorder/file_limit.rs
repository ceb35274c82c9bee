//! The limit of open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The highest limit that the recorder asks for; more open files are of no use to it.
const MAX_OPEN_FILES: u64 = 65_536;

/// Raises the soft limit of open files to the hard limit, but at most to `MAX_OPEN_FILES`.
///
/// The soft limit is low for the sake of programs that use `select`, see getrlimit(2).
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let target = limit.maximum.map_or(MAX_OPEN_FILES, |maximum| maximum.min(MAX_OPEN_FILES));
    if limit.current.is_some_and(|current| current < target) {
        // When the limit stays as it is, sinks close the least recently used files.
        let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: Some(target), ..limit });
    }
}

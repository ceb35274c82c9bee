//! The file descriptors of this process, of which there is a limit.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Largest number of descriptors that are set aside for connections, programs, the archive's job and
/// the status: half of a low limit.
const MAX_RESERVED: u64 = 128;

/// Number of times that this process found no descriptor left. Whoever keeps files open looks at it
/// and closes some: descriptors belong to the process, as in the kernel.
static SHORTAGES: AtomicU64 = AtomicU64::new(0);

/// The right to open files while others wait.
static TURN: Mutex<()> = Mutex::new(());

/// Returns whether the error says that the process, or the system, has no file descriptor left, and
/// counts it as a shortage.
pub(crate) fn record_if_shortage(error: &io::Error) -> bool {
    let is_shortage = is_shortage(error);
    if is_shortage {
        SHORTAGES.fetch_add(1, Ordering::Relaxed);
    }
    is_shortage
}

/// Returns whether the error says that the process, or the system, has no file descriptor left.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

/// Waits for the right to open files alone, among those that ask for it: where descriptors are few,
/// one after the other finds enough.
pub(crate) fn wait_for_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the number of shortages so far.
pub(crate) fn shortages() -> u64 {
    SHORTAGES.load(Ordering::Relaxed)
}

/// Returns the number of files that each of `holders` may keep open.
pub(crate) fn share_of_files(holders: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    share_of(limit, holders)
}

fn share_of(limit: u64, holders: usize) -> usize {
    let files = limit - MAX_RESERVED.min(limit / 2);
    usize::try_from(files).unwrap_or(usize::MAX) / holders.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_share_what_is_not_set_aside() {
        assert_eq!(share_of(1024, 1), 896);
        assert_eq!(share_of(256, 2), 64);
        assert_eq!(share_of(64, 1), 32);
        assert_eq!(share_of(64, 100), 0);
    }

    #[test]
    fn only_an_error_for_want_of_descriptors_is_a_shortage() {
        assert!(!is_shortage(&io::ErrorKind::StorageFull.into()));
        assert!(is_shortage(&io::Error::from_raw_os_error(Errno::MFILE.raw_os_error())));
    }
}

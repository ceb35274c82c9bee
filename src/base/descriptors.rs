//! The file descriptors of this process, of which there is a limit.

use std::io;

use rustix::io::Errno;

/// Returns whether the error says that the process, or the system, has no file descriptor left.
pub(crate) fn is_descriptor_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

//! The way in which a line is written to its destination.

use std::env;
use std::os::fd::AsFd;

use rustix::fs::fstat;

/// The way in which a line is written to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineStyle {
    /// With its time.
    Timed,
    /// With its priority in front and without its time, which the journal of systemd adds.
    Journal,
}

impl LineStyle {
    /// Returns the style for a standard stream: `JOURNAL_STREAM` has the device and the inode of
    /// the stream that systemd has connected with its journal (systemd.exec(5)). A stream that was
    /// redirected since has others.
    pub(super) fn of_stream(stream: impl AsFd) -> Self {
        let named = env::var("JOURNAL_STREAM").unwrap_or_default();
        let is_journal = fstat(stream)
            .is_ok_and(|status| named == format!("{}:{}", status.st_dev, status.st_ino));
        if is_journal { Self::Journal } else { Self::Timed }
    }
}

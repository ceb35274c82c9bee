//! The rule by which an hour is ready to be sealed.

use std::time::Duration;

use crate::archive::directory::Directory;
use crate::archive::hour_entry::{HourEntry, SealState};
use crate::base::time::UnixNanos;

/// Time after the end of an hour before it is sealed. A program that takes no lock may still write
/// lines of the hour.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// Returns the state of each hour of the directory, in order.
pub(super) fn hour_states(directory: &Directory, now: UnixNanos) -> Vec<SealState> {
    directory.hours.iter().map(|entry| entry.seal_state(&directory.path, now)).collect()
}

/// Returns whether an hour in this state has lines that nobody writes to any more.
pub(super) fn is_ready_to_seal(entry: &HourEntry, state: SealState, now: UnixNanos) -> bool {
    state == SealState::Closed && entry.hour.end().saturating_add(SETTLE_TIME) <= now
}

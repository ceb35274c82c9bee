//! Locks around plain numbers and texts.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex, also after a panic under the lock: the state consists of independent numbers and
/// texts, each of which is valid at any time.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

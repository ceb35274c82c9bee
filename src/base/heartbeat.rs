//! Proof for a watchdog that a thread makes progress.
//!
//! The thread beats when a step of its work is done: a batch, an operation on a file. A step in which
//! it waits for something within a time limit of its own is a rest. A thread that neither beats nor
//! rests hangs.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// The heartbeat of this thread, so that the lowest layers can beat without knowing whose work
    /// they do. Most threads have none.
    static CURRENT: RefCell<Option<Arc<Heartbeat>>> = const { RefCell::new(None) };
}

/// The heartbeat of a thread.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    /// Number of beats; odd while the thread is at work, even while it rests or does not run.
    beats: AtomicU64,
    /// Value of `beats` that the watchdog has seen.
    seen: AtomicU64,
}

impl Heartbeat {
    /// Makes this the heartbeat of the calling thread, which is at work until the guard is dropped.
    pub(crate) fn attach(self: &Arc<Self>) -> AttachedHeartbeat {
        CURRENT.set(Some(Arc::clone(self)));
        self.toggle();
        AttachedHeartbeat(())
    }

    /// Returns whether the thread has made progress since the last call, rests, or does not run.
    pub(crate) fn take_progress(&self) -> bool {
        // Relaxed, here and below: the numbers order nothing else.
        let beats = self.beats.load(Ordering::Relaxed);
        let seen = self.seen.swap(beats, Ordering::Relaxed);
        beats != seen || beats.is_multiple_of(2)
    }

    /// Goes from work to rest, or back.
    fn toggle(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// Detaches the heartbeat of the thread when it is dropped.
pub(crate) struct AttachedHeartbeat(());

impl Drop for AttachedHeartbeat {
    fn drop(&mut self) {
        if let Some(heartbeat) = CURRENT.take() {
            heartbeat.toggle();
        }
    }
}

/// Records that the thread has done a step of its work.
pub(crate) fn beat() {
    CURRENT.with_borrow(|current| {
        if let Some(heartbeat) = current {
            heartbeat.beats.fetch_add(2, Ordering::Relaxed);
        }
    });
}

/// Runs a wait that has a time limit of its own.
pub(crate) fn rest<T>(wait: impl FnOnce() -> T) -> T {
    let heartbeat = CURRENT.take();
    if let Some(heartbeat) = &heartbeat {
        heartbeat.toggle();
    }
    let result = wait();
    if let Some(heartbeat) = heartbeat {
        heartbeat.toggle();
        CURRENT.set(Some(heartbeat));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_at_work_without_a_beat_hangs() {
        let heartbeat = Arc::<Heartbeat>::default();
        assert!(heartbeat.take_progress() && heartbeat.take_progress(), "there is no thread");
        let attached = heartbeat.attach();
        assert!(heartbeat.take_progress(), "the thread has just started");
        assert!(!heartbeat.take_progress(), "the thread hangs");
        beat();
        assert!(heartbeat.take_progress());
        assert!(!heartbeat.take_progress());
        rest(|| {
            // What is waited for is no work of this thread, and does not end the rest.
            beat();
            rest(|| ());
            assert!(heartbeat.take_progress() && heartbeat.take_progress(), "the thread rests");
        });
        assert!(heartbeat.take_progress(), "the rest is over");
        assert!(!heartbeat.take_progress());
        std::thread::spawn(beat).join().unwrap();
        assert!(!heartbeat.take_progress(), "another thread beats for itself");
        drop(attached);
        assert!(heartbeat.take_progress() && heartbeat.take_progress(), "the thread is gone");
    }
}

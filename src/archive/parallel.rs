//! The same work on many items, on several threads.

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};

/// Does `work` on every item, on up to `threads` threads, and calls `done` on this thread with each
/// result, in the order in which they are ready. With one thread all of the work is done here. A
/// panic of `work` is passed on.
pub(super) fn parallel_for_each<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
    mut done: impl FnMut(R),
) {
    if threads <= 1 || items.len() <= 1 {
        return items.into_iter().for_each(|item| done(work(item)));
    }
    let threads = threads.min(items.len());
    let items = Mutex::new(items.into_iter());
    // An iterator of a `Vec` stays intact whatever happens to the holder of the lock.
    let next_item = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let next_item = &next_item;
            let work = &work;
            scope.spawn(move || {
                while let Some(item) = next_item() {
                    if sender.send(work(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        results.into_iter().for_each(done);
    });
}

/// Does `work` on every item, on up to `threads` threads, and returns the results in the order of
/// the items. A panic of `work` is passed on.
pub(super) fn parallel_map<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let mut results = Vec::with_capacity(items.len());
    parallel_for_each(
        items.into_iter().enumerate().collect(),
        threads,
        |(index, item)| (index, work(item)),
        |result| results.push(result),
    );
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_processed_exactly_once_and_mapped_in_order() {
        let doubled: Vec<_> = (0..50).map(|item| item * 2).collect();
        for threads in [0, 1, 3, 100] {
            let mut results = Vec::new();
            parallel_for_each(
                (0..50).collect(),
                threads,
                |item| item * 2,
                |result| results.push(result),
            );
            results.sort_unstable();
            assert_eq!(results, doubled);
            assert_eq!(parallel_map((0..50).collect(), threads, |item| item * 2), doubled);
        }
    }
}

//! The same work on many things, several at once.

use std::sync::Mutex;
use std::sync::mpsc::channel;

/// Does `work` on every item, on up to `threads` threads, and hands each result to `done` here, in
/// the order in which they come. With one thread all of it happens here.
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
    let next = || items.lock().ok().and_then(|mut items| items.next());
    let (send, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let send = send.clone();
            let (next, work) = (&next, &work);
            scope.spawn(move || {
                while let Some(item) = next() {
                    if send.send(work(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        results.into_iter().for_each(done);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_processed_exactly_once() {
        for threads in [0, 1, 3, 100] {
            let mut results = Vec::new();
            parallel_for_each(
                (0..50).collect(),
                threads,
                |item| item * 2,
                |result| results.push(result),
            );
            results.sort_unstable();
            assert_eq!(results, (0..50).map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}

//! Reading ahead: one thread fills chunks while another uses them.

use std::io::{self, Read};
use std::sync::mpsc::{channel, sync_channel};

use super::read_block::BLOCK_BYTES;

/// Number of chunks in flight between the two threads. More gain nothing, since the threads take
/// turns only when one of them waits.
pub(super) const CHUNKS_IN_FLIGHT: usize = 4;

/// Calls `fill` on a thread of its own, each time with an empty buffer, until it leaves the buffer
/// empty, and calls `take` on this thread with each filled buffer, in order. `buffers` buffers are
/// allocated and reused.
///
/// # Errors
/// The first error of `fill` or of `take`, which ends both.
pub(super) fn read_ahead<E: From<io::Error>>(
    buffers: usize,
    mut fill: impl FnMut(&mut Vec<u8>) -> io::Result<()> + Send,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (filled_sender, filled) = sync_channel::<io::Result<Vec<u8>>>(buffers);
    let (empty_sender, empty) = channel::<Vec<u8>>();
    for _ in 0..buffers {
        // Cannot fail: the receiver lives until the thread below ends.
        drop(empty_sender.send(Vec::new()));
    }
    // `move`: the channels are dropped with this closure, before the scope joins the thread, so
    // that the thread ends.
    std::thread::scope(move |scope| {
        scope.spawn(move || {
            while let Ok(mut chunk) = empty.recv() {
                chunk.clear();
                let result = fill(&mut chunk).map(|()| chunk);
                let is_last = !matches!(&result, Ok(chunk) if !chunk.is_empty());
                if filled_sender.send(result).is_err() || is_last {
                    return;
                }
            }
        });
        for chunk in filled {
            let chunk = chunk?;
            if !chunk.is_empty() {
                take(&chunk)?;
            }
            // The thread may have ended; then the buffer is not needed.
            drop(empty_sender.send(chunk));
        }
        Ok(())
    })
}

/// Reads up to [`BLOCK_BYTES`] into the empty `chunk`, and fewer only at the end.
pub(super) fn fill_chunk(reader: &mut impl Read, chunk: &mut Vec<u8>) -> io::Result<()> {
    reader.take(BLOCK_BYTES as u64).read_to_end(chunk).map(drop)
}

/// Reads to the end and calls `each` with every chunk, on this thread.
///
/// # Errors
/// The first error of the reader or of `each`.
pub(super) fn for_each_chunk<E: From<io::Error>>(
    mut reader: impl Read,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut chunk = Vec::with_capacity(BLOCK_BYTES);
    loop {
        chunk.clear();
        fill_chunk(&mut reader, &mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        each(&chunk)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_arrive_complete_and_in_order() {
        let data: Vec<u8> =
            (0..3 * BLOCK_BYTES + 17).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut reader = data.as_slice();
        let mut seen = Vec::new();
        let done: io::Result<()> = read_ahead(
            CHUNKS_IN_FLIGHT,
            |chunk| fill_chunk(&mut reader, chunk),
            |chunk| {
                seen.extend_from_slice(chunk);
                Ok(())
            },
        );
        done.unwrap();
        assert!(seen == data);
    }

    #[test]
    fn an_error_on_either_side_stops_both_threads() {
        let failed: io::Result<()> =
            read_ahead(2, |_| Err(io::Error::other("no")), |_| panic!("nothing was read"));
        assert_eq!(failed.unwrap_err().to_string(), "no");
        let failed: io::Result<()> = read_ahead(
            2,
            |chunk| {
                chunk.push(1);
                Ok(())
            },
            |_| Err(io::Error::other("enough")),
        );
        assert_eq!(failed.unwrap_err().to_string(), "enough");
    }
}

//! Reading ahead: one thread produces chunks while another uses them.

use std::io::{self, Read};
use std::sync::mpsc::{channel, sync_channel};

/// Bytes of a chunk where nothing else is called for.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that are under way; more gain nothing, as the two sides take turns only when one waits.
pub(super) const CHUNKS_IN_FLIGHT: usize = 4;

/// Calls `fill` on a thread of its own, each time with an empty buffer, until it leaves the buffer
/// empty, and `take` here with what it put there, in order. The first error ends both. There are as
/// many buffers as `buffers` says; they are used again.
pub(super) fn read_ahead<E: From<io::Error>>(
    buffers: usize,
    mut fill: impl FnMut(&mut Vec<u8>) -> io::Result<()> + Send,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (send, chunks) = sync_channel::<io::Result<Vec<u8>>>(buffers);
    let (give_back, empty) = channel::<Vec<u8>>();
    for _ in 0..buffers {
        // The receiver lives below.
        drop(give_back.send(Vec::new()));
    }
    // The channels end with this closure, before the other thread is waited for.
    std::thread::scope(move |scope| {
        scope.spawn(move || {
            while let Ok(mut chunk) = empty.recv() {
                chunk.clear();
                let filled = fill(&mut chunk).map(|()| chunk);
                let last = !matches!(&filled, Ok(chunk) if !chunk.is_empty());
                if send.send(filled).is_err() || last {
                    return;
                }
            }
        });
        for chunk in chunks {
            let chunk = chunk?;
            if !chunk.is_empty() {
                take(&chunk)?;
            }
            // The other side may have ended.
            drop(give_back.send(chunk));
        }
        Ok(())
    })
}

/// Reads a chunk, or less when there is no more.
pub(super) fn fill_chunk(reader: &mut impl Read, chunk: &mut Vec<u8>) -> io::Result<()> {
    reader.take(CHUNK_BYTES as u64).read_to_end(chunk).map(drop)
}

/// Calls `each` with everything that is read, chunk by chunk, on this thread.
pub(super) fn for_each_chunk<E: From<io::Error>>(
    mut reader: impl Read,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
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
            (0..3 * CHUNK_BYTES + 17).map(|i| u8::try_from(i % 251).unwrap()).collect();
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

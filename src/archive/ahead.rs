//! Reading ahead: one thread produces chunks while another uses them.

use std::io;
use std::sync::mpsc::{channel, sync_channel};

/// Bytes of a chunk. A handful are alive at once.
pub(super) const CHUNK: usize = 256 << 10;
/// Chunks that are under way; more gain nothing, as the two sides take turns only when one waits.
const CHUNKS: usize = 4;

/// Calls `fill` on a thread of its own, with an empty buffer of [`CHUNK`] bytes, until it leaves the
/// buffer empty, and `take` here with each chunk in order. The first error ends both.
pub(super) fn read_ahead<E: From<io::Error>>(
    mut fill: impl FnMut(&mut [u8]) -> io::Result<usize> + Send,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (send, chunks) = sync_channel::<io::Result<(Vec<u8>, usize)>>(CHUNKS);
    let (give_back, empty) = channel::<Vec<u8>>();
    for _ in 0..CHUNKS {
        // The receiver lives below.
        drop(give_back.send(vec![0; CHUNK]));
    }
    // The channels end with this closure, before the other thread is waited for.
    std::thread::scope(move |scope| {
        scope.spawn(move || {
            while let Ok(mut chunk) = empty.recv() {
                let filled = fill(&mut chunk);
                let last = !matches!(filled, Ok(length) if length > 0);
                if send.send(filled.map(|length| (chunk, length))).is_err() || last {
                    return;
                }
            }
        });
        for chunk in chunks {
            let (chunk, length) = chunk?;
            if let Some(bytes) = chunk.get(..length).filter(|bytes| !bytes.is_empty()) {
                take(bytes)?;
            }
            // The other side may have ended.
            drop(give_back.send(chunk));
        }
        Ok(())
    })
}

/// Reads until the buffer is full or there is no more.
pub(super) fn fill_from(reader: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(space) = buffer.get_mut(length..).filter(|space| !space.is_empty()) {
        match reader.read(space) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Calls `each` with everything that is read, chunk by chunk, on this thread.
pub(super) fn each_chunk<E: From<io::Error>>(
    mut reader: impl io::Read,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = fill_from(&mut reader, &mut buffer)?;
        match buffer.get(..length) {
            Some(chunk) if !chunk.is_empty() => each(chunk)?,
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_whole_and_in_order() {
        let data: Vec<u8> = (0..3 * CHUNK + 17).map(|i| (i % 251) as u8).collect();
        let mut reader = data.as_slice();
        let mut seen = Vec::new();
        let done: io::Result<()> = read_ahead(
            |buffer| fill_from(&mut reader, buffer),
            |chunk| {
                seen.extend_from_slice(chunk);
                Ok(())
            },
        );
        done.unwrap();
        assert!(seen == data);
    }

    #[test]
    fn an_error_on_either_side_ends_both() {
        let failed: io::Result<()> =
            read_ahead(|_| Err(io::Error::other("no")), |_| panic!("nothing was read"));
        assert_eq!(failed.unwrap_err().to_string(), "no");
        let failed: io::Result<()> =
            read_ahead(|buffer| Ok(buffer.len()), |_| Err(io::Error::other("enough")));
        assert_eq!(failed.unwrap_err().to_string(), "enough");
    }
}

//! Lines that are kept back, each with its track, so that one write serves many.

use std::collections::BTreeSet;

use tracing::warn;

use super::JsonlSink;
use crate::archive::file_name::Stem;
use crate::base::time::{Hour, UnixNanos};
use crate::plugin::BoxError;
use crate::plugin::batch::Batch;
use crate::sinks::jsonl::CONTROL_STEM;
use crate::sinks::jsonl::router::MAX_BUFFERED_BYTES;

/// The lines of one hour, as they came. They are copied as a block, and once more for the write of
/// their track: that is far less work for the caches than a place of its own for each line would be.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    lines: Vec<BufferedLine>,
    /// When the last of them was received.
    last_received: UnixNanos,
    /// The lines of one track, while they are written.
    scratch: Vec<u8>,
    /// The most bytes that were kept since memory was last given back.
    high_water_mark: usize,
}

/// A line, with its line feed: its bytes among those that are kept, and its track.
#[derive(Debug, Clone, Copy, Default)]
struct BufferedLine {
    writer: u32,
    start: u32,
    end: u32,
}

impl WriteBuffer {
    fn push(&mut self, batch: &Batch, tracks: impl Iterator<Item = u32>) {
        let mut start = self.bytes.len();
        self.bytes.extend_from_slice(batch.as_lines());
        self.lines.extend(batch.lines().zip(tracks).map(|(line, track)| {
            let end = start + line.len();
            let line = BufferedLine { writer: track, start: to_u32(start), end: to_u32(end) };
            start = end;
            line
        }));
        self.last_received = batch.received();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The hour in which they came.
    pub(super) fn hour(&self) -> Option<Hour> {
        (!self.is_empty()).then(|| Hour::containing(self.last_received))
    }

    /// Whether they are to be written before more are kept.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= MAX_BUFFERED_BYTES
    }

    /// Forgets the lines of all tracks but these.
    fn retain_writers(&mut self, tracks: &BTreeSet<usize>) {
        self.high_water_mark = self.high_water_mark.max(self.bytes.len());
        self.lines.retain(|line| tracks.contains(&(line.writer as usize)));
        if self.is_empty() {
            self.bytes.clear();
        }
        self.scratch.clear();
    }

    /// Gives back the memory that was not needed since this was last called.
    pub(super) fn shrink(&mut self) {
        let most = std::mem::take(&mut self.high_water_mark);
        self.bytes.shrink_to(most);
        self.scratch.shrink_to(most);
        if most == 0 {
            self.lines.shrink_to_fit();
        }
    }

    /// Puts the lines of each track side by side, in the order in which they came. Gives where those of
    /// each track end, in the order of tracks.
    fn sort_by_writer(&mut self) -> Vec<usize> {
        let mut ends: Vec<usize> = Vec::new();
        for line in &self.lines {
            let track = line.writer as usize;
            if ends.len() <= track {
                ends.resize(track + 1, 0);
            }
            if let Some(count) = ends.get_mut(track) {
                *count += 1;
            }
        }
        let mut total = 0;
        for end in &mut ends {
            total += std::mem::replace(end, total);
        }
        // Each of them is where the next line of its track comes, and at last where they end.
        let mut sorted = vec![BufferedLine::default(); total];
        for line in &self.lines {
            if let Some(next) = ends.get_mut(line.writer as usize)
                && let Some(place) = sorted.get_mut(*next)
            {
                *place = *line;
                *next += 1;
            }
        }
        self.lines = sorted;
        ends
    }
}

/// No batch is near 4 GiB, see [`Batch::push`].
fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("what is kept is smaller than 4 GiB")
}

impl JsonlSink {
    /// Keeps the lines of the batch back, each with its track.
    pub(super) fn buffer_batch(&mut self, batch: &Batch) {
        let (known, mut fresh) = (self.writers.len(), Vec::new());
        let Some(router) = &mut self.router else { return };
        router.resolve_topics(batch, |name| match Stem::from_topic(name) {
            Ok(stem) => {
                fresh.push(stem);
                known + fresh.len() - 1
            }
            Err(error) => {
                warn!(topic = name, %error, "no file can be named after this topic; its lines go to `{CONTROL_STEM}`");
                0
            }
        });
        for stem in fresh {
            let place = self.add_writer(stem);
            if let Some(track) = self.writers.get_mut(place) {
                // A line of it has just come.
                track.set_connected(true);
            }
        }
        let Some(router) = &self.router else { return };
        match router.writer_indices(batch) {
            Some(tracks) => self.buffer.push(batch, tracks),
            None => self.buffer.push(batch, std::iter::repeat(0)),
        }
    }

    /// Writes what is kept back. What fails stays, and the others go on.
    pub(super) fn write_buffered(&mut self) -> Result<(), BoxError> {
        let mut kept = std::mem::take(&mut self.buffer);
        let mut together = std::mem::take(&mut kept.scratch);
        let (mut first, mut failed, mut start) = (Ok(()), BTreeSet::new(), 0);
        for (index, end) in kept.sort_by_writer().into_iter().enumerate() {
            let lines = kept.lines.get(start..end).unwrap_or_default();
            start = end;
            if lines.is_empty() {
                continue;
            }
            together.clear();
            for line in lines {
                let bytes = kept.bytes.get(line.start as usize..line.end as usize);
                together.extend_from_slice(bytes.unwrap_or_default());
            }
            let messages = lines.len() as u64;
            if let Err(error) = self.append_to(index, kept.last_received, &together, messages) {
                failed.insert(index);
                first = first.and(Err(error));
            }
        }
        kept.scratch = together;
        kept.retain_writers(&failed);
        self.buffer = kept;
        first
    }

    /// Appends lines to the hour of the track, which is opened if need be.
    pub(super) fn append_to(
        &mut self,
        index: usize,
        received: UnixNanos,
        lines: &[u8],
        messages: u64,
    ) -> Result<(), BoxError> {
        let Some(track) = self.writers.get_mut(index) else { return Ok(()) };
        if track.is_stalled() {
            track.ensure_in_place();
        }
        let (ready, now) = (self.ensure_hour_open(index, received), self.now());
        let Some(track) = self.writers.get_mut(index) else { return Ok(()) };
        let written = ready.and_then(|()| track.append(received, lines, messages));
        let written = track.record_write_result(written, now);
        track.report_journal_error(&self.stats);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_huge_message_is_released() {
        let (mut kept, mut batch) = (WriteBuffer::default(), Batch::new());
        batch.push(&vec![b'x'; 16 << 20]);
        kept.push(&batch, std::iter::repeat(1));
        kept.scratch.extend_from_slice(batch.as_lines());
        kept.retain_writers(&BTreeSet::from([1]));
        assert_eq!(kept.len(), 1);
        kept.retain_writers(&BTreeSet::new());
        assert!(kept.is_empty());
        let held = |kept: &WriteBuffer| {
            kept.bytes.capacity() + kept.scratch.capacity() + kept.lines.capacity()
        };
        kept.shrink();
        assert!(held(&kept) >= 16 << 20, "as much may be needed again");
        kept.shrink();
        assert_eq!(held(&kept), 0);
    }
}

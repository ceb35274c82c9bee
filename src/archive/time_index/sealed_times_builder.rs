//! The making of the time index of sealed lines.

use std::iter::Peekable;
use std::ops::Range;
use std::vec::IntoIter;

use super::TICK_NANOS;
use super::received_range::ReceivedRange;
use super::sealed_times::SealedTimes;
use super::times_block::ticks;
use super::varint;
use crate::base::time::{Hour, UnixNanos};

/// Makes the index of lines that are passed to it in their order.
#[derive(Debug)]
pub(in crate::archive) struct SealedTimesBuilder {
    hour: Hour,
    /// Records that begin or end behind `position`, in the order of the lines.
    ranges: Peekable<IntoIter<ReceivedRange>>,
    /// End of the lines that were passed so far.
    position: u64,
    /// Number of lines since the last record.
    open_lines: u64,
    /// Receipt of the lines since the last record; `None` if it is unknown.
    open_received: Option<UnixNanos>,
    /// The last byte that was passed is a line feed, or there is none.
    is_at_line_start: bool,
    has_times: bool,
    lines: u64,
    last_ticks: i64,
    frames: Vec<u8>,
    counts: Vec<u8>,
    low_steps: Vec<u8>,
    high_steps: Vec<u8>,
}

impl SealedTimesBuilder {
    /// Returns a builder for the lines from byte `start` on, of which `ranges` has the receipts.
    pub(in crate::archive) fn new(hour: Hour, ranges: Vec<ReceivedRange>, start: u64) -> Self {
        let mut ranges = ranges.into_iter().peekable();
        while ranges.next_if(|range| range.bytes.end <= start).is_some() {}
        Self {
            hour,
            ranges,
            position: start,
            open_lines: 0,
            open_received: None,
            is_at_line_start: true,
            has_times: false,
            lines: 0,
            last_ticks: 0,
            frames: Vec::new(),
            counts: Vec::new(),
            low_steps: Vec::new(),
            high_steps: Vec::new(),
        }
    }

    /// Counts the lines of the next frame.
    pub(in crate::archive) fn update(&mut self, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut frame_lines = 0;
        while !bytes.is_empty() {
            let (mut border, mut received) = self.next_border();
            if received != self.open_received {
                if !self.is_at_line_start {
                    // The lines are not those of which the records are.
                    self.ranges = Vec::new().into_iter().peekable();
                    (border, received) = self.next_border();
                }
                self.finish_record();
                self.open_received = received;
            }
            let length = usize::try_from(border - self.position).unwrap_or(usize::MAX);
            let (part, rest) = bytes.split_at(length.min(bytes.len()));
            bytes = rest;
            let lines = memchr::memchr_iter(b'\n', part).count() as u64;
            self.open_lines += lines;
            frame_lines += lines;
            self.is_at_line_start = part.last() == Some(&b'\n');
            self.position += part.len() as u64;
            while self.ranges.next_if(|range| range.bytes.end <= self.position).is_some() {}
        }
        varint::push(&mut self.frames, frame_lines);
    }

    /// Returns the end of the range in which the position lies, and its receipt if it has one.
    fn next_border(&mut self) -> (u64, Option<UnixNanos>) {
        match self.ranges.peek() {
            None => (u64::MAX, None),
            Some(range) if range.bytes.start > self.position => (range.bytes.start, None),
            Some(range) => (range.bytes.end, Some(range.received)),
        }
    }

    fn finish_record(&mut self) {
        let lines = std::mem::take(&mut self.open_lines);
        if lines == 0 {
            return;
        }
        self.lines += lines;
        let unknown = u64::from(self.open_received.is_none());
        varint::push(&mut self.counts, lines << 1 | unknown);
        if let Some(received) = self.open_received {
            let ticks = ticks(self.hour, received, TICK_NANOS);
            let step = varint::zigzag(ticks.wrapping_sub(self.last_ticks));
            let [low, ..] = step.to_le_bytes();
            self.low_steps.push(low);
            varint::push(&mut self.high_steps, step >> 8);
            self.last_ticks = ticks;
            self.has_times = true;
        }
    }

    /// Returns the index, or `None` if no receipt is known. The lines are the bytes `bytes` of all
    /// lines in the sealed file.
    pub(in crate::archive) fn finish(mut self, bytes: Range<u64>) -> Option<SealedTimes> {
        self.finish_record();
        self.has_times.then_some(SealedTimes {
            hour: self.hour,
            tick_nanos: TICK_NANOS,
            bytes,
            lines: self.lines,
            frames: self.frames,
            counts: self.counts,
            low_steps: self.low_steps,
            high_steps: self.high_steps,
        })
    }
}

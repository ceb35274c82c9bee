//! A block of the `.times` file: the records of about a second, which say by themselves where they
//! belong.

use flate2::Crc;

use super::received_range::ReceivedRange;
use super::varint;
use crate::base::time::{Hour, UnixNanos};

/// Version of the format, the first byte of each block's content.
const VERSION: u8 = 1;
/// Length of what comes before a block's content: its length and its checksum.
const HEADER_BYTES: usize = 8;
/// Longest content of a block.
pub(super) const MAX_BLOCK_BYTES: usize = 1 << 20;

/// A block under construction.
#[derive(Debug)]
pub(super) struct TimesBlock {
    content: Vec<u8>,
    /// End of the lines that have a record.
    end: u64,
    /// Time of the last record, in ticks since the hour began.
    last_ticks: i64,
}

impl TimesBlock {
    /// Returns a block without records for the lines from `start` on.
    pub(super) fn new(tick_nanos: u64, start: u64) -> Self {
        let mut content = vec![VERSION];
        varint::push(&mut content, tick_nanos);
        varint::push(&mut content, start);
        Self { content, end: start, last_ticks: 0 }
    }

    /// Returns the end of the lines that have a record.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Returns whether another record may not fit.
    pub(super) fn is_full(&self) -> bool {
        self.content.len() + 20 > MAX_BLOCK_BYTES
    }

    /// Appends a record: the next `bytes` of the lines were received at that tick.
    pub(super) fn push(&mut self, bytes: u64, ticks: i64) {
        varint::push(&mut self.content, bytes);
        varint::push(&mut self.content, varint::zigzag(ticks.wrapping_sub(self.last_ticks)));
        self.last_ticks = ticks;
        self.end += bytes;
    }

    /// Appends the block, as it stands in the file.
    pub(super) fn encode_to(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.content.len()).expect("a block has at most 1 MiB");
        out.extend(length.to_le_bytes());
        out.extend(checksum(&self.content).to_le_bytes());
        out.extend(&self.content);
    }

    /// Takes a block off the front, and returns its records. Returns `None`, and takes nothing, if
    /// there is no complete block.
    pub(super) fn take(bytes: &mut &[u8], hour: Hour) -> Option<Vec<ReceivedRange>> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (length, expected) = header.split_at(4);
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (mut content, rest) = rest.split_at_checked(length)?;
        if checksum(content).to_le_bytes() != expected {
            return None;
        }
        let (version, fields) = content.split_first()?;
        if *version != VERSION {
            return None;
        }
        content = fields;
        let tick_nanos = varint::take(&mut content)?;
        let mut start = varint::take(&mut content)?;
        let mut ranges = Vec::new();
        let mut ticks: i64 = 0;
        while !content.is_empty() {
            let end = start.checked_add(varint::take(&mut content)?)?;
            ticks = ticks.wrapping_add(varint::unzigzag(varint::take(&mut content)?));
            ranges
                .push(ReceivedRange { bytes: start..end, received: time(hour, ticks, tick_nanos) });
            start = end;
        }
        *bytes = rest;
        Some(ranges)
    }
}

/// Returns the time so many ticks after the start of the hour.
pub(super) fn time(hour: Hour, ticks: i64, tick_nanos: u64) -> UnixNanos {
    let nanos = i128::from(hour.start().nanos()) + i128::from(ticks) * i128::from(tick_nanos);
    UnixNanos::new(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// Returns the ticks from the start of the hour to the time, rounded down.
pub(super) fn ticks(hour: Hour, time: UnixNanos, tick_nanos: u64) -> i64 {
    let nanos = i128::from(time.nanos()) - i128::from(hour.start().nanos());
    i64::try_from(nanos.div_euclid(i128::from(tick_nanos.max(1)))).unwrap_or(i64::MAX)
}

/// Returns the CRC-32 of the bytes, as in gzip (RFC 1952, 8).
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

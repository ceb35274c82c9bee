//! The time index: when each line was received, kept beside the lines.
//!
//! While an hour is open its `.times` file has one record for each batch of lines. The seal puts the
//! records behind the sealed lines, as a skippable frame (RFC 8878, 3.1.2), which every decoder
//! leaves out. `docs/times.md` has both formats. Lines without a record are known by the marks of the
//! journal alone.

mod indexed_lines;
mod received_range;
mod sealed_times;
mod sealed_times_builder;
mod times_block;
mod times_file;
mod times_writer;
mod varint;

pub(super) use self::indexed_lines::{IndexedFrame, IndexedLines};
pub use self::received_range::ReceivedRange;
pub(super) use self::sealed_times::SealedTimes;
pub(super) use self::sealed_times_builder::SealedTimesBuilder;
pub(super) use self::times_file::TimesFile;
pub(super) use self::times_writer::TimesWriter;

/// Nanoseconds of a tick, the unit of the times in the index. A read waits up to `read_pacing` for
/// more, so that finer times would say nothing about the feed.
pub const TICK_NANOS: u64 = 100_000;

//! Files on disk: their names, hour files and journals, sealing, retention, and reading them back.
//! Plain functions on `std::fs`, without a runtime and without configuration.

pub mod cat;
mod checkpoints;
pub(crate) mod completeness;
pub mod compress;
pub mod coverage;
mod decode;
pub mod digest;
pub mod dir_lock;
pub mod directory;
pub mod disk;
mod disk_space;
mod file_id;
mod file_info;
mod file_lock;
pub mod file_name;
mod found_lines;
pub mod frontier;
pub mod gaps;
mod hashing_reader;
pub mod hour_entry;
pub mod hour_file;
mod hour_removal;
pub mod hour_summary;
pub mod hour_writer;
pub mod job;
pub mod journal;
mod line_position;
pub(crate) mod locked_handle;
pub mod missing_lines;
mod parallel;
pub(crate) mod parts;
pub mod progress;
mod read_ahead;
mod read_block;
pub mod receipt_runs;
pub mod received_lines;
mod reconciler;
mod recorded_lines;
pub mod retention;
pub mod seal;
pub mod seal_error;
mod seek_table;
pub mod sha256_hash;
pub mod tail_repair;
pub mod tail_scan;
pub mod time_index;
pub mod verify;
mod zstd_frame;

#[cfg(test)]
mod tests;

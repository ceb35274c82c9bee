//! Files on disk: names, hour files, sealing, retention, and reading it all back. Plain functions
//! on `std::fs`; no runtime, no configuration.

pub mod cat;
pub mod compress;
pub mod coverage;
mod decode;
pub mod digest;
pub mod dir_lock;
pub mod directory;
pub mod disk;
mod file_id;
mod file_lock;
pub mod file_name;
pub mod gaps;
pub mod hour_file;
pub mod hour_summary;
pub mod hour_writer;
pub mod job;
pub mod journal;
mod locked_handle;
mod parallel;
pub mod progress;
mod read_ahead;
mod reconciler;
pub mod retention;
pub mod seal;
pub mod seal_error;
pub mod tail_repair;
pub mod tail_scan;
pub mod verify;
mod zstd_frame;

#[cfg(test)]
mod tests;

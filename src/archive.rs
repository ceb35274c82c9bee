//! Files on disk: names, hour files, sealing, retention, and reading it all back. Plain functions
//! on `std::fs`; no runtime, no configuration.

pub mod account;
mod ahead;
pub mod cat;
pub mod compress;
mod decode;
pub mod digest;
pub mod directory;
pub mod disk;
mod frames;
pub mod gaps;
pub mod hour_file;
pub mod job;
pub mod journal;
pub mod layout;
mod line_lock;
pub mod list;
pub mod lock;
pub mod open_hour;
pub mod progress;
mod reconcile;
pub mod recover;
pub mod retain;
pub mod seal;
pub mod tail;
pub mod verify;
mod workers;

#[cfg(test)]
mod tests;

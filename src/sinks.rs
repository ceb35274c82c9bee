//! The sinks that come with the recorder, one file each.
pub mod exec;
pub mod jsonl;
pub mod stdout;

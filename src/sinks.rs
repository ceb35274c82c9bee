//! The sinks that come with the recorder, one file or directory each.

pub mod exec;
pub mod jsonl;
pub mod stdout;

//! The built-in sinks, one file each.

pub mod jsonl;

//! The stages that come with the recorder, one file or directory each.

pub mod dedup;
pub mod exec;
pub mod filter;
pub mod jq;
pub mod sample;
pub mod stamp;
pub mod validate;
pub mod verbatim;

#[cfg(test)]
mod stage_harness;

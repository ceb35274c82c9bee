//! The recorder as its users meet it: the real binary, real sockets, real files.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

mod harness;

mod account;
mod archive;
mod clocks;
mod command_line;
mod compression;
mod configuration;
mod demo;
mod disk;
mod documents;
mod faults;
mod files;
mod gap_ends;
mod liveness;
mod logs;
mod messages;
mod old_archives;
mod overlap;
mod plugins;
mod proxies;
mod recording;
mod report;
mod routing;
mod security;
mod sidecar;
mod status;
mod subscriptions;
mod tls;
mod venues;

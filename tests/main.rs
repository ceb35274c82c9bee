//! End-to-end tests with the real binary, real sockets and real files.
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

mod addresses;
mod alerts;
mod archive_commands;
mod archive_job;
mod bootstrap;
mod client_messages;
mod clock_steps;
mod command_line;
mod configuration;
mod crashes_and_stops;
mod demo;
mod descriptors;
mod documents;
mod faults;
mod file_systems;
mod file_trouble;
mod full_disk;
mod gap_ends;
mod handshakes;
mod logs;
mod message_content;
mod old_archives;
mod output_files;
mod packaging;
mod permessage_deflate;
mod plugins;
mod proxies;
mod reconnects;
mod recording;
mod redundant_connections;
mod reload;
mod report;
mod routing;
mod security;
mod service_manager;
mod snapshots;
mod status;
mod subscriptions;
mod tls;
mod urls;
mod venues;

//! The sources that come with the recorder, one file each.
pub mod exec;
pub mod file;
mod line_reader;
pub mod stdin;
pub mod websocket;

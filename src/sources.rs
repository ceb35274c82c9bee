//! The sources that come with the recorder, one file each.
pub mod exec;
pub mod file;
mod reading;
pub mod stdin;
pub mod websocket;

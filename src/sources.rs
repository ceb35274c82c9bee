//! The sources that come with the recorder, one per file.
pub mod exec;
pub mod file;
mod file_encoding;
mod line_reader;
pub mod stdin;
pub mod websocket;

//! The built-in sources, one file each.

pub mod websocket;

//! Files on disk: names, hour files, the directory's lock. Plain functions on `std::fs`; no
//! runtime, no configuration.

pub mod hour_file;
pub mod layout;
pub mod lock;

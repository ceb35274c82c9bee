//! The built-in stages, one file each.

pub mod verbatim;

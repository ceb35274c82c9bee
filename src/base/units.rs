//! Durations, sizes and file modes as people write them in the configuration: `"30s"`, `"8MiB"`,
//! `"0640"`.

mod byte_size;
mod config_duration;
mod file_mode;
mod unit_error;
mod unit_family;

pub use self::byte_size::ByteSize;
pub use self::config_duration::ConfigDuration;
pub use self::file_mode::{FileMode, FileModeError};
pub use self::unit_error::UnitError;

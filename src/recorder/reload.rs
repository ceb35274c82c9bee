//! Reloads the configuration while the recorder runs.
//!
//! A reload reads and checks the file as a start does. An error changes nothing. What can be changed
//! while the pipelines run is changed, and what cannot is named.

mod checked_config;
mod config_file;
mod pipeline_change;
mod reload_handle;
mod reload_report;
mod reloader;
mod running_config;

pub(crate) use self::config_file::ConfigFile;
pub(crate) use self::reload_handle::{ReloadHandle, reload_channel};
pub(crate) use self::reload_report::{ReloadOutcome, ReloadReport};
pub(crate) use self::reloader::Reloader;
pub(crate) use self::running_config::{RunningConfig, new_run_id};

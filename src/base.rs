//! Tools that know nothing of recordings: time, units, JSON, configuration errors, processes.

pub(crate) mod backoff;
pub(crate) mod child_process;
pub(crate) mod command_line;
pub(crate) mod config_error;
pub(crate) mod connection_id;
pub(crate) mod descriptors;
pub(crate) mod env;
pub(crate) mod error_chain;
pub(crate) mod failure_log;
pub(crate) mod heartbeat;
pub mod json;
pub(crate) mod line_splitter;
pub(crate) mod literal_secrets;
pub(crate) mod log_budget;
pub(crate) mod pacer;
pub(crate) mod path_text;
pub(crate) mod problem;
pub(crate) mod rate_limited_log;
pub(crate) mod replace_file;
pub(crate) mod secrets;
pub(crate) mod shard_index;
pub(crate) mod shown_text;
pub(crate) mod suggest;
pub(crate) mod symlinks;
pub mod time;
pub mod units;

//! `streamer init`: writes a configuration to start from, and its schema.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

use super::cli_error::CliError;
use super::output::{print, to_json_document};
use crate::base::replace_file::replace_file;
use crate::base::symlinks::check_foreign_links;
use crate::config::config_schema;
use crate::registry::Registry;

const SCHEMA_NAME: &str = "config.schema.json";
const STARTER: &str = r#"{
  "$schema": "./config.schema.json",
  "output_dir": "./output",
  "topic": "publicTrade.BTCUSDT",
  "ws_url": "wss://stream.bybit.com/v5/public/linear",
  "buffer_size": 10000,
  "status_interval": 30,
  "log_file": "system.log",
  "log_to_stdout": false,
  "status_socket": "/tmp/streamer.sock",
  "archive": {
    "schedule": "0 5 * * * *",
    "compression": { "level": 1 },
    "retention": { "max_age": "90d", "max_total_size": "20GiB", "min_free_disk": "2GiB" }
  }
}
"#;

pub(super) fn init(file: &Path, registry: &Registry) -> Result<ExitCode, CliError> {
    create_new(file, STARTER)?;
    let schema = config_schema(registry);
    let schema_file = file.with_file_name(SCHEMA_NAME);
    let file = file.display();
    let shown = schema_file.display();
    let about_schema = if is_foreign(&schema_file, &schema) {
        format!("`{shown}` was not written by this program and stays as it is")
    } else {
        replace_file(&schema_file, to_json_document(&schema)?.as_bytes())
            .with_context(|| format!("cannot write `{shown}`"))?;
        format!("with {shown} an editor explains and checks every key")
    };
    print(&format!(
        "Wrote {file}; {about_schema}.\nNext: `streamer check -config {file}`, then `streamer run -config {file}`.\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns whether the file exists and is not a schema of this program, of any version.
fn is_foreign(file: &Path, schema: &Value) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else { return file.exists() };
    match serde_json::from_str::<Value>(&text) {
        Ok(found) => found.get("title") != schema.get("title"),
        Err(_) => true,
    }
}

/// Writes a file that must not exist yet.
fn create_new(file: &Path, text: &str) -> anyhow::Result<()> {
    check_foreign_links(file).map_err(anyhow::Error::from)?;
    let mut created = match OpenOptions::new().write(true).create_new(true).open(file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("`{}` exists and stays as it is; `-config FILE` names another", file.display())
        }
        opened => opened.with_context(|| format!("cannot create `{}`", file.display()))?,
    };
    created.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", file.display()))
}

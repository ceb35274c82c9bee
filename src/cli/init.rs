//! `streamer init`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{CliError, print, schema_text};
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
    let schema = file.with_file_name(SCHEMA_NAME);
    let (file, shown) = (file.display(), schema.display());
    let by_schema = if is_foreign(&schema, registry) {
        format!("`{shown}` is not of this program and was left as it is")
    } else {
        std::fs::write(&schema, schema_text(registry))
            .with_context(|| format!("cannot write `{shown}`"))?;
        format!("by {shown} editors explain and check every key")
    };
    print(&format!(
        "Wrote {file}; {by_schema}.\nNext: `streamer check -config {file}`, then `streamer run -config {file}`.\n"
    ))
}

/// Whether something else than a schema of this program, of whatever version, has the name.
fn is_foreign(schema: &Path, registry: &Registry) -> bool {
    let Ok(text) = std::fs::read_to_string(schema) else { return schema.exists() };
    let there = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
    there.get("title") != registry.schema().get("title")
}

fn create_new(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut created = match OpenOptions::new().write(true).create_new(true).open(file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            anyhow::bail!(
                "`{}` exists and is left as it is; `-config FILE` names another",
                file.display()
            )
        }
        opened => opened.with_context(|| format!("cannot create `{}`", file.display()))?,
    };
    created.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", file.display()))
}

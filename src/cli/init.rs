//! `streamer init`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{Failure, print, schema_text};
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
  "status_socket": "/tmp/streamer.sock"
}
"#;

pub(super) fn init(file: &Path, registry: &Registry) -> Result<ExitCode, Failure> {
    create(file, STARTER)?;
    let schema = file.with_file_name(SCHEMA_NAME);
    let mut text = format!("Wrote {}", file.display());
    // The schema belongs to the program: one that is there already may be of another version.
    std::fs::write(&schema, schema_text(registry))
        .with_context(|| format!("cannot write `{}`", schema.display()))?;
    text.push_str(&format!(
        " and {}, by which editors explain and check every key.\nNext: streamer check -config {0}, then streamer run -config {0}\n",
        schema.display(),
    ).replace("{0}", &file.display().to_string()));
    print(&text)
}

fn create(file: &Path, text: &str) -> anyhow::Result<()> {
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

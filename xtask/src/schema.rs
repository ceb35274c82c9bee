//! `cargo xtask schema`: keeps the committed schema equal to what the program prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

const FILE: &str = "schema/config.schema.json";

#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Write,
    Check,
}

pub(crate) fn schema(mode: Mode) -> Result<()> {
    let printed = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["run", "--quiet", "--locked", "--package", "streamer", "--", "schema"])
        .output()
        .context("cannot start cargo")?;
    if !printed.status.success() {
        bail!("`streamer schema` failed:\n{}", String::from_utf8_lossy(&printed.stderr));
    }
    let path = Path::new(root()).join(FILE);
    match mode {
        Mode::Write => {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(&path, printed.stdout).with_context(|| format!("cannot write `{FILE}`"))
        }
        Mode::Check => {
            let committed = fs::read(&path).with_context(|| format!("cannot read `{FILE}`"))?;
            if committed != printed.stdout {
                bail!("`{FILE}` is not what the program prints; run `cargo xtask schema`");
            }
            Ok(())
        }
    }
}

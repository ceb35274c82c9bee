//! The recorder under test, with its disk and its clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::small_disk::SmallDisk;
use crate::{faketime, report};

/// The size of the file system of the archive.
const DISK: &str = "512m";

pub(crate) struct Recorder {
    pub(crate) binary: PathBuf,
    pub(crate) config: PathBuf,
    dir: PathBuf,
    child: Option<Child>,
    /// The file system of the archive; `None` without the right to mount one.
    disk: Option<SmallDisk>,
    faketime: Option<PathBuf>,
}

impl Recorder {
    pub(crate) fn new(binary: &Path, dir: &Path, url: &str) -> Result<Self> {
        let binary = fs::canonicalize(binary)
            .with_context(|| format!("there is no `{}`", binary.display()))?;
        let output = dir.join("output");
        fs::create_dir(&output)?;
        let disk = SmallDisk::mount(&output, DISK);
        if disk.is_none() {
            report("no right to mount a tmpfs: the disk is never full");
        }
        let faketime = faketime::find_library();
        if faketime.is_none() {
            report("no libfaketime: the clock does not step");
        }
        let config = dir.join("config.json");
        let keys = json!({
            "output_dir": output, "ws_url": url,
            "log_file": dir.join("log"), "status_socket": dir.join("socket"),
            "archive": { "schedule": "*/10 * * * * *" },
        });
        fs::write(&config, serde_json::to_string_pretty(&keys)?)?;
        fs::write(dir.join("clock"), "+0")?;
        let dir = dir.to_owned();
        Ok(Self { binary, config, dir, child: None, disk, faketime })
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("-config").arg(&self.config).stdin(Stdio::null());
        if let Some(library) = &self.faketime {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", self.dir.join("clock"))
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("NO_FAKE_STAT", "1");
        }
        self.child = Some(command.spawn()?);
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // A recorder that does not handle signals yet ends as well.
        Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status()?;
        let status = child.wait()?;
        if !status.success() && status.code().is_some() {
            bail!("the recorder failed ({status}); see its log");
        }
        Ok(())
    }

    /// Sets the offset of the recorder's clock in seconds. Returns false without libfaketime.
    pub(crate) fn set_clock(&self, offset: i64) -> Result<bool> {
        let new = self.dir.join("clock.new");
        fs::write(&new, format!("{offset:+}"))?;
        fs::rename(new, self.dir.join("clock"))?;
        Ok(self.faketime.is_some())
    }

    /// Returns the file system of the archive if it may be filled.
    pub(crate) fn small_disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // After a successful run the recorder has ended already.
        drop(self.kill());
    }
}

//! A file system that may be filled.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

/// The name of the file that takes the space.
const FILLER: &str = "filler";

/// A small file system in memory, which is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system on a directory; `None` without the right to do so.
    pub(crate) fn mount(path: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| Self { path: path.to_owned() })
    }

    /// Takes all space that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.path.join(FILLER))?;
        while file.write_all(&[7; 4_096]).is_ok() {}
        Ok(())
    }

    /// Gives the space back.
    pub(crate) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.path.join(FILLER))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.path).status());
    }
}

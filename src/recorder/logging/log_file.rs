//! A log file that is begun anew at a size, with a few older ones kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::base::symlinks::check_foreign_links;

/// Opened with the first line, and again after it failed or was closed.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    /// 0 for no limit.
    max_size: u64,
    max_old_files: u16,
    open: Option<(File, u64)>,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, max_size: u64, keep: u16) -> Self {
        Self { path, max_size, max_old_files: keep, open: None }
    }

    /// Opens the file now, to find out whether it can be.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.open = Some(self.open_file()?);
        Ok(())
    }

    /// Appends a line; the next one tries again when this fails.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.try_append(line);
        if written.is_err() {
            self.open = None;
        }
        written
    }

    /// Closes the file; the next line opens what then has its name.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    fn try_append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => self.open_file()?,
        };
        if self.max_size > 0 && size > 0 && size + length > self.max_size {
            (file, size) = self.rotate()?;
        }
        file.write_all(line)?;
        self.open = Some((file, size + length));
        Ok(())
    }

    fn open_file(&mut self) -> io::Result<(File, u64)> {
        check_foreign_links(&self.path).map_err(io::Error::other)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            // A device or a pipe, such as /dev/stdout, has no size and is not renamed.
            self.max_size = 0;
        }
        Ok((file, metadata.len()))
    }

    /// Renames `log` to `log.1`, `log.1` to `log.2` and so on; the last is replaced.
    fn rotate(&mut self) -> io::Result<(File, u64)> {
        let older = |number: u16| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.max_old_files == 0 {
            fs::remove_file(&self.path)?;
        } else {
            for number in (1..self.max_old_files).rev() {
                match fs::rename(older(number), older(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.path, older(1))?;
        }
        self.open_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_rotates_at_max_size_and_keeps_the_configured_old_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::new(path.clone(), 20, 2);
        for number in 0..9 {
            log.append(format!("line {number}..\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("log"), "line 8..\n");
        assert_eq!(read("log.1"), "line 6..\nline 7..\n");
        assert_eq!(read("log.2"), "line 4..\nline 5..\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        // Another process goes on where this one stopped.
        LogFile::new(path, 20, 2).append(b"line 9..\n").unwrap();
        assert_eq!(read("log"), "line 8..\nline 9..\n");
    }

    #[test]
    fn a_moved_file_is_created_again_after_a_close() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::new(path.clone(), 0, 3);
        log.append(b"1\n").unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        log.append(b"2\n").unwrap();
        log.close();
        log.append(b"3\n").unwrap();
        assert_eq!(fs::read(dir.path().join("moved")).unwrap(), b"1\n2\n");
        assert_eq!(fs::read(&path).unwrap(), b"3\n");
    }

    #[test]
    fn each_line_retries_a_log_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/log");
        let mut log = LogFile::new(path.clone(), 0, 3);
        assert!(log.append(b"1\n").is_err());
        fs::create_dir(dir.path().join("missing")).unwrap();
        log.append(b"2\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2\n");
    }
}

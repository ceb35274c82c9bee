//! A log file that is rotated at a size, with a number of old files kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::base::symlinks::check_foreign_links;

/// A log file. It is opened with the first line, and again after an error or a close.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    /// Size in bytes beyond which the file is rotated; 0 for no limit.
    max_size: u64,
    max_old_files: u16,
    open: Option<OpenLog>,
    /// End of a line of which a pipe has taken the start.
    unfinished: Vec<u8>,
}

/// The open file and its size.
#[derive(Debug)]
struct OpenLog {
    file: File,
    size: u64,
    /// True if the file can be rotated: a device or a pipe, such as /dev/stdout, has no size and is
    /// not renamed.
    is_regular: bool,
}

impl LogFile {
    /// Creates a log file that is not open yet. A `max_size` of 0 means no limit.
    pub(super) fn new(path: PathBuf, max_size: u64, max_old_files: u16) -> Self {
        Self { path, max_size, max_old_files, open: None, unfinished: Vec::new() }
    }

    /// Opens the file now, to find out whether that is possible.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.open = Some(self.open_file()?);
        Ok(())
    }

    /// Appends a line.
    ///
    /// # Errors
    /// The line is lost. The next line opens the file again.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        // Left empty by an error.
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_file()?,
        };
        let length = line.len() as u64;
        let is_full = self.max_size > 0 && open.size > 0 && open.size + length > self.max_size;
        if is_full && open.is_regular {
            open = self.rotate()?;
        }
        match self.write_line(&open.file, line) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            written => {
                open.size += length;
                self.open = Some(open);
                written
            }
        }
    }

    /// Writes a line after the rest of an earlier one. A pipe that is full because nobody reads it
    /// gets no part of the line, or has it finished before the next.
    #[expect(clippy::disallowed_methods, reason = "a short write is continued")]
    fn write_line(&mut self, mut file: &File, line: &[u8]) -> io::Result<()> {
        while !self.unfinished.is_empty() {
            let written = file.write(&self.unfinished)?;
            self.unfinished.drain(..written);
        }
        let mut rest = line;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && rest.len() < line.len() =>
                {
                    self.unfinished = rest.to_vec();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes the file. The next line opens the file that has the path then.
    pub(super) fn close(&mut self) {
        self.open = None;
        self.unfinished.clear();
    }

    fn open_file(&self) -> io::Result<OpenLog> {
        check_foreign_links(&self.path).map_err(io::Error::other)?;
        // A FIFO, a terminal or another device must not hold up the start, nor a line.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640).custom_flags(flags.bits().cast_signed());
        let file = options.open(&self.path).map_err(|error| {
            if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
                io::Error::other("it is a FIFO that nobody reads, or a socket")
            } else {
                error
            }
        })?;
        let metadata = file.metadata()?;
        Ok(OpenLog { file, size: metadata.len(), is_regular: metadata.is_file() })
    }

    /// Renames `log` to `log.1`, `log.1` to `log.2` and so on, and opens a new file. The oldest file
    /// is replaced.
    fn rotate(&self) -> io::Result<OpenLog> {
        let old_path = |number: u16| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.max_old_files == 0 {
            fs::remove_file(&self.path)?;
        } else {
            for number in (1..self.max_old_files).rev() {
                match fs::rename(old_path(number), old_path(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.path, old_path(1))?;
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
        // Another process continues the file.
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

    #[test]
    fn a_fifo_without_a_reader_or_with_one_that_does_not_read_never_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
        let mut log = LogFile::new(path.clone(), 0, 3);
        let refused = log.append(b"nobody\n").unwrap_err().to_string();
        assert!(refused.contains("a FIFO that nobody reads"), "{refused}");
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let reader = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
        // Longer than what a pipe takes in one piece, so that a line is taken in part.
        let line = [vec![b'x'; 9_000], b"\n".to_vec()].concat();
        let taken = (0..100).position(|_| log.append(&line).is_err()).unwrap();
        let read = |mut reader: &File| {
            let mut content = Vec::new();
            // The pipe stays open for writing, so that there is no end.
            drop(io::Read::read_to_end(&mut reader, &mut content));
            content
        };
        let first = read(&reader);
        log.append(b"next\n").unwrap();
        let content = [first, read(&reader)].concat();
        assert!(content == [line.repeat(taken), b"next\n".to_vec()].concat(), "lines are whole");
    }
}

//! The lines of a recording, while it is being made.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time within which a message must be in the file.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Interval at which the file is read.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Interval at which the directory is read while a file is open.
const LIST_INTERVAL: Duration = Duration::from_millis(500);

/// Reads the lines of the one topic in a directory, in the order of the hours.
pub(crate) struct RecordedLines {
    dir: PathBuf,
    /// Files that were found, the last of them open.
    files: Vec<PathBuf>,
    open: Option<File>,
    unread: Vec<u8>,
    /// Number of bytes at the start of `unread` that hold no line feed.
    searched: usize,
    /// The last look for new files.
    listed: Option<Instant>,
}

impl RecordedLines {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            files: Vec::new(),
            open: None,
            unread: Vec::new(),
            searched: 0,
            listed: None,
        }
    }

    /// Waits for the next line. Returns it without its line feed; `None` if it does not come.
    pub(crate) fn wait(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + WRITE_LIMIT;
        loop {
            if let Some(line) = self.take() {
                return Some(line);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns the next line if it is written.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        if let Some(line) = self.split_line() {
            return Some(line);
        }
        self.read();
        self.split_line()
    }

    fn split_line(&mut self) -> Option<Vec<u8>> {
        let mut unsearched = self.unread.iter().skip(self.searched);
        let Some(length) = unsearched.position(|&byte| byte == b'\n') else {
            self.searched = self.unread.len();
            return None;
        };
        let end = self.searched + length;
        self.searched = 0;
        let mut line: Vec<u8> = self.unread.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    fn read(&mut self) {
        if let Some(file) = &mut self.open {
            // A file that cannot be read has no lines, and a missing line is a failure.
            let count = file.read_to_end(&mut self.unread).unwrap_or(0);
            // A new hour begins seldom, and a directory is slow to read.
            if count > 0 || self.listed.is_some_and(|at| at.elapsed() < LIST_INTERVAL) {
                return;
            }
        }
        self.listed = Some(Instant::now());
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        found.sort();
        if let Some(path) = found.into_iter().find(|path| !self.files.contains(path)) {
            self.open = File::open(&path).ok();
            self.files.push(path);
            if let Some(file) = &mut self.open {
                drop(file.read_to_end(&mut self.unread));
            }
        }
    }
}

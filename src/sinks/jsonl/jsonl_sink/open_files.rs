//! Which files are open, and which tracks there are.

use tracing::warn;

use super::JsonlSink;
use crate::archive::directory::stems_with_hours;
use crate::base::time::{Clock, Hour, SystemClock};
use crate::sinks::jsonl::router::Router;
use crate::sinks::jsonl::topic_writer::TopicWriter;

/// Descriptors that the rest of the process needs.
const RESERVED_DESCRIPTORS: u64 = 128;
/// No fewer files than this are kept open when the system has no more to give.
const MIN_OPEN_WRITERS: usize = 16;

impl JsonlSink {
    /// When the process has no more descriptors, fewer files are kept open from now on.
    pub(super) fn reduce_open_files(&mut self, error: &std::io::Error) {
        use rustix::io::Errno;
        let scarce = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        if self.router.is_none() || !error.raw_os_error().is_some_and(|e| scarce.contains(&e)) {
            return;
        }
        let fewer = (self.open_writers.max(MIN_OPEN_WRITERS)).min(self.settings.max_open_files / 2);
        self.settings.max_open_files = fewer.max(MIN_OPEN_WRITERS);
        self.writers.iter_mut().for_each(TopicWriter::close_handles);
        self.open_writers = 0;
        let max_open_files = self.settings.max_open_files;
        warn!(max_open_files, "the process may open no more files; fewer are kept open");
    }

    /// Takes note that the track's files are needed now. Those of another that was not needed for
    /// the longest time are closed, if there would be too many.
    pub(super) fn reopen(&mut self, index: usize) {
        const FILES_PER_WRITER: usize = 2;
        if self.router.is_none() {
            return;
        }
        self.use_count += 1;
        let uses = self.use_count;
        let Some(track) = self.writers.get_mut(index) else { return };
        track.last_used = uses;
        if std::mem::replace(&mut track.is_open, true) {
            return;
        }
        self.open_writers += 1;
        if self.open_writers * FILES_PER_WRITER <= self.settings.max_open_files {
            return;
        }
        let awake = self.writers.iter_mut().filter(|track| track.is_open);
        if let Some(longest) = awake.min_by_key(|track| track.last_used) {
            longest.close_handles();
            self.open_writers -= 1;
            self.evictions.add(1);
        }
    }

    /// Says so when the process may not open as many files.
    pub(super) fn check_descriptor_limit(&self) {
        let needed = RESERVED_DESCRIPTORS + self.settings.max_open_files as u64;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit.filter(|limit| self.router.is_some() && *limit < needed) {
            let max_open_files = self.settings.max_open_files;
            warn!(
                max_open_files,
                limit,
                "the process may open fewer files than `max_open_files` and the rest need; raise `ulimit -n`, or lower the key"
            );
        }
    }

    /// Topics that a run before found in the lines go on: that nothing comes of them is known, too.
    pub(super) fn add_recent_writers(&mut self) {
        if self.router.as_ref().is_none_or(Router::is_by_topic) {
            return;
        }
        let now = Hour::containing(SystemClock.now());
        let recent = |hour: Hour| hour.end() >= now.start() && hour <= now;
        let Ok(stems) = stems_with_hours(&self.settings.dir, recent) else { return };
        for stem in stems {
            if self.writers.iter().all(|track| track.options.stem != stem) {
                self.add_writer(stem);
            }
        }
    }
}

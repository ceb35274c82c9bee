//! Which files are open, and which tracks there are.

use std::collections::BTreeSet;

use tracing::warn;

use super::super::route::Router;
use super::super::track::Track;
use super::Jsonl;
use crate::archive::layout::parse;
use crate::clock::{Clock, Hour, SystemClock};

/// Descriptors that the rest of the process needs.
const OTHER_FILES: u64 = 128;
/// No fewer files than this are kept open when the system has no more to give.
const LEAST_AWAKE: usize = 16;

impl Jsonl {
    /// When the process has no more descriptors, fewer files are kept open from now on.
    pub(super) fn mind_descriptors(&mut self, error: &std::io::Error) {
        use rustix::io::Errno;
        let scarce = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        if self.router.is_none() || !error.raw_os_error().is_some_and(|e| scarce.contains(&e)) {
            return;
        }
        let fewer = (self.awake.max(LEAST_AWAKE)).min(self.settings.max_open_files / 2);
        self.settings.max_open_files = fewer.max(LEAST_AWAKE);
        self.tracks.iter_mut().for_each(Track::rest);
        self.awake = 0;
        let max_open_files = self.settings.max_open_files;
        warn!(max_open_files, "the process may open no more files; fewer are kept open");
    }

    /// Takes note that the track's files are needed now. Those of another that was not needed for
    /// the longest time are closed, if there would be too many.
    pub(super) fn wake(&mut self, index: usize) {
        const FILES: usize = 2;
        if self.router.is_none() {
            return;
        }
        self.uses += 1;
        let uses = self.uses;
        let Some(track) = self.tracks.get_mut(index) else { return };
        track.used = uses;
        if std::mem::replace(&mut track.awake, true) {
            return;
        }
        self.awake += 1;
        if self.awake * FILES <= self.settings.max_open_files {
            return;
        }
        let awake = self.tracks.iter_mut().filter(|track| track.awake);
        if let Some(longest) = awake.min_by_key(|track| track.used) {
            longest.rest();
            self.awake -= 1;
            self.rested.add(1);
        }
    }

    /// Says so when the process may not open as many files.
    pub(super) fn mind_limit(&self) {
        let needed = OTHER_FILES + self.settings.max_open_files as u64;
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
    pub(super) fn find_tracks(&mut self) {
        if self.router.as_ref().is_none_or(Router::is_by_topic) {
            return;
        }
        let now = Hour::containing(SystemClock.now());
        let Ok(entries) = std::fs::read_dir(&self.settings.dir) else { return };
        let mut stems = BTreeSet::new();
        for entry in entries.flatten() {
            let parsed = entry.file_name().to_str().and_then(parse);
            let recent = |hour: &Hour| hour.end() >= now.start() && *hour <= now;
            stems.extend(parsed.filter(|(_, hour, _)| recent(hour)).map(|(stem, ..)| stem));
        }
        for stem in stems {
            if self.tracks.iter().all(|track| track.place.stem != stem) {
                self.add(stem);
            }
        }
    }
}

//! Writes every message as a line into one file per UTC hour.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::archive::disk::FileError;
use crate::archive::hour_file::HourFile;
use crate::archive::layout::{LOCK_NAME, Stem};
use crate::archive::lock::DirLock;
use crate::archive::tail::Mended;
use crate::batch::Batch;
use crate::clock::{Hour, UnixNanos};
use crate::plugin::{BoxError, BuildContext, Sink, SinkConfig};
use crate::units::Span;

/// Mode of a directory that the sink creates.
const DIR_MODE: u32 = 0o750;

/// Writes every message as a line into one file per UTC hour.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlConfig {
    /// Directory of the files. Created if it does not exist; one recorder may write to it.
    pub output_dir: PathBuf,
    /// First part of the file names. By default the source's topic, if it has exactly one.
    #[schemars(length(min = 1))]
    pub stem: Option<String>,
    /// How often written lines are made durable (fdatasync), while there are new ones: the most
    /// that a power cut can take. 0 leaves it to the operating system.
    pub sync_interval: Span,
}

impl Default for JsonlConfig {
    fn default() -> Self {
        Self { output_dir: "./output".into(), stem: None, sync_interval: Span::from_secs(1) }
    }
}

/// A configuration for which no file name can be made.
#[derive(Debug, thiserror::Error)]
enum JsonlError {
    #[error(
        "`stem` is needed, since the source has {topics} topics: it is the first part of the file names"
    )]
    NoStem { topics: usize },
    #[error("`output_dir` is empty; name a directory, such as \"./output\"")]
    NoDir,
    #[error("`stem` is empty; leave it out to use the topic")]
    EmptyStem,
    #[error("cannot create the directory `{}` (`output_dir`)", dir.display())]
    CreateDir { dir: PathBuf, source: std::io::Error },
}

impl SinkConfig for JsonlConfig {
    const TYPE: &'static str = "jsonl";

    fn archive_dir(&self) -> Option<&Path> {
        Some(&self.output_dir)
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Sink>, BoxError> {
        if self.output_dir.as_os_str().is_empty() {
            return Err(JsonlError::NoDir.into());
        }
        if self.stem.as_ref().is_some_and(String::is_empty) {
            return Err(JsonlError::EmptyStem.into());
        }
        let topic = match (&self.stem, context.topics.as_slice()) {
            (Some(stem), _) => stem,
            (None, [topic]) => topic,
            (None, topics) => {
                return Err(JsonlError::NoStem { topics: topics.len() }.into());
            }
        };
        Ok(Box::new(Jsonl {
            stem: Stem::from_topic(topic)?,
            dir: self.output_dir,
            sync_interval: self.sync_interval.non_zero(),
            lock: None,
            current: None,
            last_sync: Instant::now(),
        }))
    }
}

struct Jsonl {
    dir: PathBuf,
    stem: Stem,
    sync_interval: Option<Duration>,
    /// Held from `open` on.
    lock: Option<DirLock>,
    current: Option<HourFile>,
    last_sync: Instant,
}

impl Jsonl {
    /// The file of `hour`; another hour's is closed first.
    fn file(&mut self, hour: Hour) -> Result<&mut HourFile, BoxError> {
        if self.current.as_ref().is_none_or(|file| file.hour() != hour) {
            if let Err(error) = self.close_hour() {
                // Reported, and no reason to hold up the next hour.
                warn!(%error, cause = %error.source, "hour may not be durable");
            }
            // Without its directory no hour can be opened.
            self.ensure_in_place()?;
            let (file, mended) = HourFile::open(&self.dir, &self.stem, hour)?;
            match mended {
                Some(Mended::Cut { bytes, kept_in }) => {
                    let kept_in = kept_in.display();
                    warn!(file = %file.path().display(), bytes, %kept_in, "torn last line cut");
                }
                Some(Mended::FeedAdded) => {
                    warn!(file = %file.path().display(), "line feed added to the last line");
                }
                None => {}
            }
            info!(file = %file.path().display(), bytes = file.length(), "hour opened");
            return Ok(self.current.insert(file));
        }
        // The condition above leaves an open file.
        Ok(self.current.as_mut().expect("an hour is open"))
    }

    /// Makes the open hour durable and closes it, also when the first fails: the lines are with
    /// the kernel already.
    fn close_hour(&mut self) -> Result<(), FileError> {
        let Some(mut file) = self.current.take() else { return Ok(()) };
        let dirty = self.sync_interval.is_some() && file.is_dirty();
        let synced = if dirty { file.sync() } else { Ok(()) };
        info!(file = %file.path().display(), bytes = file.length(), "hour closed");
        synced
    }

    /// When somebody removed or moved away what is open, lines would go where nobody finds them:
    /// then the directory is taken anew and the next message begins a new file.
    fn ensure_in_place(&mut self) -> Result<(), BoxError> {
        if let Some(file) = &self.current
            && !file.is_in_place()
        {
            error!(file = %file.path().display(), bytes = file.length(), "the open hour was removed or moved away, a new file will be begun");
            self.current = None;
        }
        if self.lock.as_ref().is_some_and(|lock| !lock.is_in_place()) {
            error!(dir = %self.dir.display(), "the lock was removed or moved away, taking it anew");
            self.open()?;
        }
        Ok(())
    }

    fn sync_if_due(&mut self) -> Result<(), FileError> {
        if let (Some(interval), Some(file)) = (self.sync_interval, &mut self.current)
            && file.is_dirty()
            && self.last_sync.elapsed() >= interval
        {
            let synced = file.sync();
            self.last_sync = Instant::now();
            return synced;
        }
        Ok(())
    }
}

impl Sink for Jsonl {
    fn destination(&self) -> String {
        self.dir.join(format!("{}_*.jsonl", self.stem.as_str())).display().to_string()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(&self.dir)
            .map_err(|source| JsonlError::CreateDir { dir: self.dir.clone(), source })?;
        self.lock = Some(DirLock::acquire(&self.dir, LOCK_NAME)?);
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        self.file(Hour::containing(batch.received()))?.append(batch.as_lines())?;
        Ok(())
    }

    fn tick(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        self.ensure_in_place()?;
        // An hour ahead of a clock that stepped back stays open until other messages come.
        if self.current.as_ref().is_some_and(|file| file.hour() < Hour::containing(now)) {
            return Ok(self.close_hour()?);
        }
        Ok(self.sync_if_due()?)
    }

    fn close(&mut self) -> Result<(), BoxError> {
        Ok(self.close_hour()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stats::Stats;

    /// A sink whose time is in the test's hand.
    struct ByHand {
        dir: tempfile::TempDir,
        sink: Box<dyn Sink>,
    }

    impl ByHand {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let stats = Arc::new(Stats::new(UnixNanos::default()));
            let context = BuildContext::new(vec!["t".to_owned()], stats, 10);
            let config =
                JsonlConfig { output_dir: dir.path().to_owned(), ..JsonlConfig::default() };
            let mut sink = config.build(&context).unwrap();
            sink.open().unwrap();
            Self { dir, sink }
        }

        fn write(&mut self, seconds: u64, text: &str) {
            let mut batch = Batch::new();
            batch.push(text.as_bytes());
            batch.set_received(UnixNanos::from_seconds(seconds));
            self.sink.write(&batch).unwrap();
        }

        fn tick(&mut self, seconds: u64) {
            self.sink.tick(UnixNanos::from_seconds(seconds)).unwrap();
        }

        fn read(&self, hour: u64) -> String {
            let file = self.dir.path().join(format!("t_{hour}.jsonl"));
            std::fs::read_to_string(file).unwrap_or_default()
        }

        /// How many files of this process are open in the directory, the lock aside.
        fn open_files(&self) -> usize {
            std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
                .filter(|file| {
                    file.starts_with(self.dir.path())
                        && file.extension().is_some_and(|e| e == "jsonl")
                })
                .count()
        }
    }

    #[test]
    fn a_message_belongs_to_the_hour_in_which_it_was_received() {
        let mut by_hand = ByHand::new();
        by_hand.write(7199, "last");
        by_hand.tick(7200);
        by_hand.write(7200, "first");
        // Waited in the queue over the boundary.
        by_hand.write(7199, "late");
        by_hand.sink.close().unwrap();
        assert_eq!(by_hand.read(3600), "last\nlate\n");
        assert_eq!(by_hand.read(7200), "first\n");
    }

    #[test]
    fn the_hour_closes_on_a_tick_when_nothing_arrives() {
        let mut by_hand = ByHand::new();
        by_hand.write(7100, "a");
        by_hand.tick(7199);
        assert_eq!(by_hand.open_files(), 1);
        by_hand.tick(7200);
        assert_eq!(by_hand.open_files(), 0);
        assert_eq!(std::fs::read_dir(by_hand.dir.path()).unwrap().count(), 2, "hour and lock");
    }

    #[test]
    fn a_directory_that_was_removed_is_made_anew() {
        let mut by_hand = ByHand::new();
        by_hand.write(3600, "gone");
        std::fs::remove_dir_all(by_hand.dir.path()).unwrap();
        by_hand.tick(3601);
        by_hand.write(3602, "kept");
        by_hand.tick(3603);
        assert_eq!(by_hand.read(3600), "kept\n");
        assert!(by_hand.dir.path().join(".streamer.lock").exists());
    }

    #[test]
    fn a_directory_that_was_removed_between_hours_holds_nothing_up() {
        let mut by_hand = ByHand::new();
        std::fs::remove_dir_all(by_hand.dir.path()).unwrap();
        by_hand.write(3600, "kept");
        assert_eq!(by_hand.read(3600), "kept\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let mut by_hand = ByHand::new();
        by_hand.write(3600, "before");
        let moved = by_hand.dir.path().join("moved");
        std::fs::rename(by_hand.dir.path().join("t_3600.jsonl"), &moved).unwrap();
        by_hand.tick(3601);
        by_hand.write(3602, "after");
        assert_eq!(std::fs::read(moved).unwrap(), b"before\n");
        assert_eq!(by_hand.read(3600), "after\n");
    }

    #[test]
    fn a_clock_that_steps_overwrites_nothing() {
        let mut by_hand = ByHand::new();
        by_hand.write(100_000, "a");
        by_hand.write(10, "b");
        by_hand.tick(11);
        by_hand.write(100_001, "c");
        by_hand.write(12, "d");
        by_hand.sink.close().unwrap();
        assert_eq!(by_hand.read(97_200), "a\nc\n");
        assert_eq!(by_hand.read(0), "b\nd\n");
    }
}

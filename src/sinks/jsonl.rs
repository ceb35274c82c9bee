//! Writes every message as a line into one file per UTC hour, and keeps a journal of each.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::archive::disk::{FILE_MODE, FileError};
use crate::archive::hour_file::Found;
use crate::archive::journal::{Event, Open, Waiting};
use crate::archive::layout::{LOCK_NAME, Stem};
use crate::archive::lock::DirLock;
use crate::archive::open_hour::{Left, OpenHour, Place};
use crate::archive::tail::Mended;
use crate::batch::Batch;
use crate::clock::{Hour, UnixNanos};
use crate::errors::error_chain;
use crate::links::refuse_foreign_links;
use crate::plugin::{BoxError, BuildContext, FeedEvent, Sink, SinkConfig};
use crate::stats::Stats;
use crate::units::{Mode, Span};

/// The shortest interval between marks: receive times within a journal are no finer.
const MIN_MARK_INTERVAL: Span = Span::from_secs(1);

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
    /// How often the journal notes how far the lines have come, while there are new ones: how
    /// closely it knows when a line was received, and when a recorder that crashed was last alive.
    /// At least 1s.
    pub mark_interval: Span,
    /// The mode of new files, in octal. Directories get the right to search where files may be read.
    pub file_mode: Mode,
}

impl Default for JsonlConfig {
    fn default() -> Self {
        Self {
            output_dir: "./output".into(),
            stem: None,
            sync_interval: Span::from_secs(1),
            mark_interval: Span::from_secs(2),
            file_mode: Mode::new(FILE_MODE),
        }
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
    #[error("`mark_interval` is {0}; it must be at least {MIN_MARK_INTERVAL}")]
    MarkInterval(Span),
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
        if self.mark_interval < MIN_MARK_INTERVAL {
            return Err(JsonlError::MarkInterval(self.mark_interval).into());
        }
        let place = Place {
            stem: Stem::from_topic(topic)?,
            dir: self.output_dir,
            mode: self.file_mode.bits(),
            sync_interval: self.sync_interval.non_zero(),
            mark_interval: self.mark_interval.duration(),
        };
        Ok(Box::new(Jsonl::new(place, context)))
    }
}

struct Jsonl {
    place: Place,
    /// Held from `open` on.
    lock: Option<DirLock>,
    current: Option<OpenHour>,
    /// What every journal says of this recording.
    opening: Open,
    /// The wall clock as it was last told, and when that was.
    told: (UnixNanos, Instant),
    /// Events that came while no hour could be opened.
    waiting: Waiting,
    /// Since when and why lines cannot be written, while that is so.
    stall: Option<Stall>,
    stats: Arc<Stats>,
}

struct Stall {
    since: UnixNanos,
    error: String,
    /// Whether the journal has it. There is none where the hour cannot be opened.
    noted: bool,
}

impl Jsonl {
    fn new(place: Place, context: &BuildContext) -> Self {
        let run = context.run.clone();
        let opening = Open {
            run: run.id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            config: run.config,
            source: run.source,
            topics: context.topics.clone(),
            ..Open::default()
        };
        let (lock, current, stats) = (None, None, Arc::clone(&context.stats));
        let told = (UnixNanos::default(), Instant::now());
        Self {
            place,
            lock,
            current,
            opening,
            told,
            waiting: Waiting::default(),
            stall: None,
            stats,
        }
    }

    /// The wall clock now: monotonic time since it was last told.
    fn now(&self) -> UnixNanos {
        self.told.0.plus(self.told.1.elapsed())
    }

    /// The hour of this time; another is closed first. `now` is the wall clock, `time` may lie a
    /// little before it.
    fn hour(&mut self, time: UnixNanos) -> Result<&mut OpenHour, BoxError> {
        let hour = Hour::containing(time);
        if self.current.as_ref().is_none_or(|current| current.hour() != hour) {
            if let Err(error) = self.close_hour(false) {
                // Reported, and no reason to hold up the next hour.
                warn!(%error, cause = %error.source, "hour may not be durable");
            }
            // Without its directory no hour can be opened.
            self.ensure_in_place()?;
            let opening = Open { part: self.opening.part + 1, ..self.opening.clone() };
            let (mut open, found) = OpenHour::open(&self.place, hour, time, opening)?;
            self.opening.part += 1;
            report(&open, found);
            for (t, event) in self.waiting.all() {
                open.note(t, event);
            }
            self.waiting.clear();
            self.current = Some(open);
            self.mind_journal();
        }
        // The condition above leaves an open hour.
        Ok(self.current.as_mut().expect("an hour is open"))
    }

    /// Makes the open hour durable and closes it, also when the first fails: the lines are with
    /// the kernel already.
    fn close_hour(&mut self, stop: bool) -> Result<(), FileError> {
        let Some(open) = self.current.take() else { return Ok(()) };
        if let Some(lines) = open.lines() {
            info!(file = %lines.path().display(), bytes = lines.length(), messages = lines.messages(), "hour closed");
        }
        let Left { lines, journal } = open.close(&self.place, self.now(), stop);
        if let Some(error) = journal {
            self.stats.journal_failed(&error);
        }
        lines
    }

    /// When somebody removed or moved away what is open, lines would go where nobody finds them:
    /// then the directory is taken anew and the next message begins a new file.
    fn ensure_in_place(&mut self) -> Result<(), BoxError> {
        if let Some(open) = &self.current
            && !open.is_in_place()
        {
            let hour = open.hour();
            error!(dir = %self.place.dir.display(), %hour, "a file of the open hour was removed or moved away, a new one will be begun");
            self.current = None;
        }
        if self.lock.as_ref().is_some_and(|lock| !lock.is_in_place()) {
            error!(dir = %self.place.dir.display(), "the lock was removed or moved away, taking it anew");
            self.open()?;
        }
        Ok(())
    }

    /// A journal that cannot be written holds nothing up, but is told of.
    fn mind_journal(&mut self) {
        if let Some(error) = self.current.as_mut().and_then(OpenHour::journal_trouble) {
            self.stats.journal_failed(&error);
        }
    }

    fn note(&mut self, at: UnixNanos, event: Event) -> Result<(), BoxError> {
        match self.hour(at) {
            Ok(open) => open.note(at, event),
            Err(error) => {
                // It is told once, and must not be forgotten.
                self.waiting.push(at, event);
                return Err(error);
            }
        }
        self.mind_journal();
        Ok(())
    }

    /// Lines cannot be written from now on.
    fn stalls(&mut self, error: &(dyn std::error::Error + 'static)) -> Stall {
        let (since, error) = (self.now(), error_chain(error));
        let noted = self.current.is_some();
        if let Some(open) = &mut self.current {
            open.note(since, Event::Stall { error: error.clone() });
        }
        Stall { since, error, noted }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), BoxError> {
        let received = batch.received();
        self.hour(received)?;
        let Some(open) = &mut self.current else { return Ok(()) };
        let lines = batch.as_lines();
        if let Some(found) = open.append(&self.place, received, lines, batch.len() as u64)? {
            report(open, Some(found));
        }
        Ok(())
    }
}

/// Tells in the log of an hour that was opened.
fn report(open: &OpenHour, found: Option<Found>) {
    let Some(lines) = open.lines() else { return };
    let file = lines.path().display();
    let found = found.unwrap_or_default();
    match found.mended {
        Some(Mended::Cut { bytes, kept_in }) => {
            let kept_in = kept_in.display();
            warn!(%file, bytes, %kept_in, "torn last line cut");
        }
        Some(Mended::FeedAdded) => warn!(%file, "line feed added to the last line"),
        None => {}
    }
    if let Some(recovered) = found.recovered.filter(|recovered| recovered.lost > 0) {
        let since = UnixNanos::new(recovered.since);
        error!(%file, messages = recovered.lost, %since, "lines that were written are gone");
    }
    info!(%file, bytes = lines.length(), messages = lines.messages(), "hour opened");
}

impl Sink for Jsonl {
    fn destination(&self) -> String {
        let Place { dir, stem, .. } = &self.place;
        dir.join(format!("{}_*.jsonl", stem.as_str())).display().to_string()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        let Place { dir, mode, .. } = &self.place;
        refuse_foreign_links(dir)?;
        DirBuilder::new()
            .recursive(true)
            .mode(Mode::new(*mode).of_directory())
            .create(dir)
            .map_err(|source| JsonlError::CreateDir { dir: dir.clone(), source })?;
        self.lock = Some(DirLock::acquire(dir, LOCK_NAME)?);
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        if self.stall.is_some() {
            // Another file system may be mounted there by now. What is wrong shows below.
            drop(self.ensure_in_place());
        }
        match (self.append(batch), self.stall.take()) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(stall)) => {
                let now = self.now();
                if let Some(open) = &mut self.current {
                    if !stall.noted {
                        open.note(stall.since, Event::Stall { error: stall.error });
                    }
                    open.note(now, Event::Resume);
                }
                self.mind_journal();
                Ok(())
            }
            (Err(error), stall) => {
                self.stall = Some(stall.unwrap_or_else(|| self.stalls(&*error)));
                Err(error)
            }
        }
    }

    fn event(&mut self, at: UnixNanos, event: &FeedEvent) -> Result<(), BoxError> {
        self.told = (at, Instant::now());
        let connected = match event {
            FeedEvent::Up { .. } => true,
            FeedEvent::Down { .. } => false,
            _ => self.opening.connected,
        };
        let event = match event {
            FeedEvent::Up { connection } => Event::Up { connection: *connection },
            FeedEvent::Down { cause, detail, silent_since } => Event::Down {
                cause: cause.as_str().to_owned(),
                detail: detail.clone(),
                since: silent_since.map(UnixNanos::nanos),
            },
            FeedEvent::Dropped { since, messages, cause } => Event::Drop {
                since: since.nanos(),
                messages: *messages,
                cause: cause.as_str().to_owned(),
            },
            FeedEvent::Suspended { slept } => {
                let slept = u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX);
                Event::Suspended { since: at.nanos().saturating_sub(slept) }
            }
            FeedEvent::ClockStepped { from } => Event::ClockStep { from: from.nanos() },
        };
        let noted = self.note(at, event);
        // From the next hour on.
        self.opening.connected = connected;
        noted
    }

    fn tick(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        self.told = (now, Instant::now());
        self.ensure_in_place()?;
        self.hour(now)?;
        let Some(open) = &mut self.current else { return Ok(()) };
        let synced = open.tick(&self.place, now);
        self.mind_journal();
        Ok(synced?)
    }

    fn close(&mut self) -> Result<(), BoxError> {
        Ok(self.close_hour(true)?)
    }
}

#[cfg(test)]
mod tests;

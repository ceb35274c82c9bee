//! The sink: one track, or one for each topic.

mod events;
mod open_files;
mod rejects;
mod write_buffer;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::error;

use self::write_buffer::WriteBuffer;
use super::connectivity_state::ConnectivityState;
use super::router::Router;
use super::topic_writer::TopicWriter;
use crate::archive::dir_lock::DirLock;
use crate::archive::disk::sync_file_system;
use crate::archive::file_name::{RECORDER_LOCK_NAME, Stem};
use crate::archive::hour_writer::{HourWriterOptions, TICK_SLACK};
use crate::archive::journal::OpenEvent;
use crate::base::symlinks::check_foreign_links;
use crate::base::time::{Hour, UnixNanos};
use crate::base::units::FileMode;
use crate::metrics::{Counter, PipelineStats};
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, RejectedMessage, Sink, SourceEvent};

/// From so many files on that are to be made durable at once, all of the file system is.
const FILE_SYSTEM_SYNC_THRESHOLD: usize = 16;
/// All tracks together mark their journals so often.
const MIN_MARK_SPACING: Duration = Duration::from_millis(50);
/// So many tracks are looked at in a second for whether their files are still in place.
const PLACE_CHECKS_PER_TICK: usize = 64;

/// How and where it writes.
#[derive(Debug, Clone)]
pub(super) struct JsonlSettings {
    pub(super) dir: PathBuf,
    pub(super) mode: u32,
    pub(super) sync_interval: Option<Duration>,
    pub(super) mark_interval: Duration,
    pub(super) max_open_files: usize,
}

pub(super) struct JsonlSink {
    settings: JsonlSettings,
    /// Held from `open` on.
    lock: Option<DirLock>,
    /// The first is the only one, or that of lines without a topic.
    pub(super) writers: Vec<TopicWriter>,
    router: Option<Router>,
    /// What every journal says of this recording.
    open_event: OpenEvent,
    /// What the source subscribes to.
    subscribed_topics: HashSet<String>,
    connectivity: ConnectivityState,
    /// The wall clock as it was last told, and when that was.
    clock_reading: (UnixNanos, Instant),
    buffer: WriteBuffer,
    last_sync: Instant,
    /// Files of rejected messages that are not yet durable.
    unsynced_reject_files: BTreeSet<PathBuf>,
    /// Messages set aside that are to be written: lines, track, and how many.
    pending_rejects: BTreeMap<PathBuf, (Vec<u8>, usize, u64)>,
    next_place_check: usize,
    use_count: u64,
    open_writers: usize,
    /// How often files were closed to make room for others.
    evictions: Arc<Counter>,
    stats: Arc<PipelineStats>,
}

impl JsonlSink {
    pub(super) fn new(
        settings: JsonlSettings,
        stems: Vec<Stem>,
        router: Option<Router>,
        context: &BuildContext,
    ) -> Self {
        let run = context.run_info.clone();
        let opening = OpenEvent {
            run: run.id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            config: run.config_digest,
            source: run.endpoint,
            topics: context.topics.clone(),
            ..OpenEvent::default()
        };
        let mut jsonl = Self {
            settings,
            lock: None,
            writers: Vec::new(),
            router,
            open_event: opening,
            subscribed_topics: context.topics.iter().cloned().collect(),
            connectivity: ConnectivityState::default(),
            clock_reading: (UnixNanos::default(), Instant::now()),
            buffer: WriteBuffer::default(),
            last_sync: Instant::now(),
            unsynced_reject_files: BTreeSet::new(),
            pending_rejects: BTreeMap::new(),
            next_place_check: 0,
            use_count: 0,
            open_writers: 0,
            evictions: context.counter("rested"),
            stats: Arc::clone(&context.stats),
        };
        for stem in stems {
            jsonl.add_writer(stem);
        }
        jsonl
    }

    /// A track for this stem.
    fn add_writer(&mut self, stem: Stem) -> usize {
        let place = self.writers.len();
        let mut opening = self.open_event.clone();
        if let Some(router) = &mut self.router {
            let topic = stem.to_topic().unwrap_or_default();
            router.register(&topic, place);
            // Thousands of journals need not each name thousands of topics.
            opening.topics = match place {
                0 if router.is_by_topic() => Vec::new(),
                0 => self.open_event.topics.clone(),
                _ => vec![topic],
            };
        }
        let topic = opening.topics.first().cloned();
        let JsonlSettings { dir, mode, sync_interval, .. } = self.settings.clone();
        let many = self.router.is_some();
        let asked_for = topic.as_ref().is_some_and(|topic| self.subscribed_topics.contains(topic));
        let place_of = HourWriterOptions { dir, stem, mode, sync_interval };
        let mut track = TopicWriter::new(place_of, topic, opening, many);
        track.is_subscribed_topic = many && asked_for;
        self.writers.push(track);
        place
    }

    /// The wall clock now: monotonic time since it was last told.
    fn now(&self) -> UnixNanos {
        self.clock_reading.0.saturating_add(self.clock_reading.1.elapsed())
    }

    /// Sees to it that the track has the hour of this time open; another is closed first. `time` may
    /// lie a little before the wall clock.
    fn ensure_hour_open(&mut self, index: usize, time: UnixNanos) -> Result<(), BoxError> {
        let (now, hour) = (self.now(), Hour::containing(time));
        self.reopen(index);
        let Some(track) = self.writers.get_mut(index) else { return Ok(()) };
        if !track.is_hour_open(hour) {
            track.close_hour_or_log(now, false, &self.stats);
            // Without its directory no hour can be opened.
            self.ensure_locked()?;
            if let Some(track) = self.writers.get_mut(index)
                && let Err(error) = track.open_hour(time, &self.stats)
            {
                self.reduce_open_files(&error.source);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// When the directory or its lock was moved away, it is taken anew.
    fn ensure_locked(&mut self) -> Result<(), BoxError> {
        if self.lock.as_ref().is_some_and(|lock| !lock.is_in_place()) {
            let dir = self.settings.dir.display();
            error!(%dir, "the lock was removed or moved away, taking it anew");
            self.open()?;
        }
        Ok(())
    }

    fn write_unrouted(&mut self, batch: &Batch) -> Result<(), BoxError> {
        if self.writers.first().is_some_and(TopicWriter::is_stalled) {
            // Another file system may be mounted there by now. What is wrong shows below.
            drop(self.ensure_locked());
        }
        self.append_to(0, batch.received(), batch.as_lines(), batch.len() as u64)
    }

    /// Makes what has changed durable at once, where that is much; says whether it did.
    fn sync_file_system_if_many_dirty(&mut self, now: UnixNanos) -> bool {
        let dirty = self.writers.iter().filter(|track| track.is_dirty()).count();
        if self.settings.sync_interval.is_none() || dirty < FILE_SYSTEM_SYNC_THRESHOLD {
            return false;
        }
        let synced = sync_file_system(&self.settings.dir);
        let error = synced.as_ref().err();
        if let Some(error) = error {
            error!(%error, cause = %error.source, "lines may not be durable");
        }
        for track in &mut self.writers {
            track.record_file_system_sync(now, error);
        }
        self.last_sync = Instant::now();
        true
    }

    /// Goes on to the hour of this time.
    fn roll_hour(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        let hour = Hour::containing(now);
        let behind = self.writers.iter().filter(|track| !track.is_hour_open(hour)).count();
        let many = behind >= FILE_SYSTEM_SYNC_THRESHOLD;
        if many {
            self.sync_file_system_if_many_dirty(now);
            for index in 0..self.writers.len() {
                self.reopen(index);
                let Some(track) = self.writers.get_mut(index) else { continue };
                if !track.is_hour_open(hour) {
                    track.close_hour_or_log(now, true, &self.stats);
                }
            }
        }
        let mut first = Ok(());
        for index in 0..self.writers.len() {
            if self.writers.get(index).is_some_and(|track| !track.is_hour_open(hour)) {
                first = first.and(self.ensure_hour_open(index, now));
            }
        }
        if many {
            self.sync_file_system_if_many_dirty(now);
        }
        first
    }
}

impl Sink for JsonlSink {
    fn destination(&self) -> String {
        let stem = match (&self.router, self.writers.first()) {
            (None, Some(track)) => track.options.stem.as_str(),
            _ => "*",
        };
        self.settings.dir.join(format!("{stem}_*.jsonl")).display().to_string()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        let JsonlSettings { dir, mode, .. } = &self.settings;
        check_foreign_links(dir)?;
        DirBuilder::new()
            .recursive(true)
            .mode(FileMode::new(*mode).directory_bits())
            .create(dir)
            .map_err(|source| CreateDirError { dir: dir.clone(), source })?;
        self.lock = Some(DirLock::acquire(dir, RECORDER_LOCK_NAME)?);
        self.check_descriptor_limit();
        self.add_recent_writers();
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        if self.router.is_none() {
            return self.write_unrouted(batch);
        }
        let hour = Hour::containing(batch.received());
        // What is kept back belongs to one hour.
        let next_hour = self.buffer.hour().is_some_and(|kept| kept != hour);
        if self.buffer.is_full() || next_hour {
            self.write_buffered()?;
        }
        if next_hour && hour > Hour::containing(self.clock_reading.0) {
            self.roll_hour(batch.received())?;
        }
        self.buffer_batch(batch);
        Ok(())
    }

    fn buffered(&self) -> u64 {
        self.buffer.len() as u64
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        if self.buffer.is_empty() { Ok(()) } else { self.write_buffered() }
    }

    fn wants_rejected(&self) -> bool {
        true
    }

    fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), BoxError> {
        self.write_rejects(rejected)
    }

    fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) -> Result<(), BoxError> {
        self.journal_event(at, event)
    }

    fn tick(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        // What was received before belongs before.
        let mut first = self.flush();
        self.buffer.shrink();
        self.clock_reading = (now, Instant::now());
        first = first.and(self.ensure_locked());
        for _ in 0..self.writers.len().min(PLACE_CHECKS_PER_TICK) {
            self.next_place_check = (self.next_place_check + 1) % self.writers.len();
            if let Some(track) = self.writers.get_mut(self.next_place_check) {
                track.ensure_in_place();
            }
        }
        // One that cannot go on is no reason to leave the others.
        first = first.and(self.roll_hour(now));
        let due = self
            .settings
            .sync_interval
            .is_some_and(|every| self.last_sync.elapsed() + TICK_SLACK >= every);
        if due {
            self.sync_file_system_if_many_dirty(now);
        }
        let tracks = u32::try_from(self.writers.len()).unwrap_or(u32::MAX);
        let between = self.settings.mark_interval.max(MIN_MARK_SPACING * tracks);
        let alone = self.router.is_none();
        for track in &mut self.writers {
            first = first.and(track.tick(now, between, &self.stats).map_err(BoxError::from));
            if alone || track.is_open {
                continue;
            }
            // What was opened for that is not needed any longer.
            track.close_handles();
        }
        first.and(self.sync_rejects().map_err(BoxError::from))
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let flushed = self.flush();
        let now = self.now();
        let many = self.writers.len() >= FILE_SYSTEM_SYNC_THRESHOLD
            && self.settings.sync_interval.is_some();
        let together = many && {
            self.sync_file_system_if_many_dirty(now);
            true
        };
        let mut first = flushed;
        for index in 0..self.writers.len() {
            self.reopen(index);
            if let Some(track) = self.writers.get_mut(index) {
                let closed = track.close_hour(now, true, together, &self.stats);
                first = first.and(closed.map_err(BoxError::from));
            }
        }
        if together {
            first = first.and(sync_file_system(&self.settings.dir).map_err(BoxError::from));
        }
        first.and(self.sync_rejects().map_err(BoxError::from))
    }

    fn wants_topics(&self) -> bool {
        self.router.as_ref().is_some_and(Router::is_by_topic)
    }
}

/// The directory cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the directory `{}` (`output_dir`)", dir.display())]
struct CreateDirError {
    dir: PathBuf,
    source: std::io::Error,
}

//! The sink: one track, or one for each topic.

mod events;
mod files;
mod kept;
mod rejects;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::error;

use self::kept::Kept;
use super::links::Links;
use super::route::Router;
use super::track::Track;
use crate::archive::disk::sync_all;
use crate::archive::journal::Open;
use crate::archive::layout::{LOCK_NAME, Stem};
use crate::archive::lock::DirLock;
use crate::archive::open_hour::Place;
use crate::batch::Batch;
use crate::clock::{Hour, UnixNanos};
use crate::links::refuse_foreign_links;
use crate::plugin::{BoxError, BuildContext, FeedEvent, Rejected, Sink};
use crate::stats::{Counter, Stats};
use crate::units::Mode;

/// From so many files on that are to be made durable at once, all of the file system is.
const MANY_DIRTY: usize = 16;
/// All tracks together mark their journals so often.
const LEAST_BETWEEN_MARKS: Duration = Duration::from_millis(50);
/// Ticks come about once a second: one that is early by this much counts.
const SLACK: Duration = Duration::from_millis(200);
/// So many tracks are looked at in a second for whether their files are still in place.
const LOOKED_AT: usize = 64;

/// How and where it writes.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) dir: PathBuf,
    pub(super) mode: u32,
    pub(super) sync_interval: Option<Duration>,
    pub(super) mark_interval: Duration,
    pub(super) max_open_files: usize,
}

pub(super) struct Jsonl {
    settings: Settings,
    /// Held from `open` on.
    lock: Option<DirLock>,
    /// The first is the only one, or that of lines without a topic.
    pub(super) tracks: Vec<Track>,
    router: Option<Router>,
    /// What every journal says of this recording.
    opening: Open,
    /// What the source subscribes to.
    asked_for: HashSet<String>,
    links: Links,
    /// The wall clock as it was last told, and when that was.
    told: (UnixNanos, Instant),
    kept: Kept,
    synced: Instant,
    /// Files of rejected messages that are not yet durable.
    dirty_rejects: BTreeSet<PathBuf>,
    /// Messages set aside that are to be written: lines, track, and how many.
    rejects: BTreeMap<PathBuf, (Vec<u8>, usize, u64)>,
    looked_at: usize,
    uses: u64,
    awake: usize,
    /// How often files were closed to make room for others.
    rested: Arc<Counter>,
    stats: Arc<Stats>,
}

impl Jsonl {
    pub(super) fn new(
        settings: Settings,
        stems: Vec<Stem>,
        router: Option<Router>,
        context: &BuildContext,
    ) -> Self {
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
        let mut jsonl = Self {
            settings,
            lock: None,
            tracks: Vec::new(),
            router,
            opening,
            asked_for: context.topics.iter().cloned().collect(),
            links: Links::default(),
            told: (UnixNanos::default(), Instant::now()),
            kept: Kept::default(),
            synced: Instant::now(),
            dirty_rejects: BTreeSet::new(),
            rejects: BTreeMap::new(),
            looked_at: 0,
            uses: 0,
            awake: 0,
            rested: context.counter("rested"),
            stats: Arc::clone(&context.stats),
        };
        for stem in stems {
            jsonl.add(stem);
        }
        jsonl
    }

    /// A track for this stem.
    fn add(&mut self, stem: Stem) -> usize {
        let place = self.tracks.len();
        let mut opening = self.opening.clone();
        if let Some(router) = &mut self.router {
            let topic = stem.topic().unwrap_or_default();
            router.knows(&topic, place);
            // Thousands of journals need not each name thousands of topics.
            opening.topics = match place {
                0 if router.is_by_topic() => Vec::new(),
                0 => self.opening.topics.clone(),
                _ => vec![topic],
            };
        }
        let topic = opening.topics.first().cloned();
        let Settings { dir, mode, sync_interval, .. } = self.settings.clone();
        let many = self.router.is_some();
        let asked_for = topic.as_ref().is_some_and(|topic| self.asked_for.contains(topic));
        let place_of = Place { dir, stem, mode, sync_interval };
        let mut track = Track::new(place_of, topic, opening, many);
        track.is_asked_for = many && asked_for;
        self.tracks.push(track);
        place
    }

    /// The wall clock now: monotonic time since it was last told.
    fn now(&self) -> UnixNanos {
        self.told.0.plus(self.told.1.elapsed())
    }

    /// Sees to it that the track has the hour of this time open; another is closed first. `time` may
    /// lie a little before the wall clock.
    fn ready(&mut self, index: usize, time: UnixNanos) -> Result<(), BoxError> {
        let (now, hour) = (self.now(), Hour::containing(time));
        self.wake(index);
        let Some(track) = self.tracks.get_mut(index) else { return Ok(()) };
        if !track.is_at(hour) {
            track.leave(now, false, &self.stats);
            // Without its directory no hour can be opened.
            self.keep_lock()?;
            if let Some(track) = self.tracks.get_mut(index)
                && let Err(error) = track.open(time, &self.stats)
            {
                self.mind_descriptors(&error.source);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// When the directory or its lock was moved away, it is taken anew.
    fn keep_lock(&mut self) -> Result<(), BoxError> {
        if self.lock.as_ref().is_some_and(|lock| !lock.is_in_place()) {
            let dir = self.settings.dir.display();
            error!(%dir, "the lock was removed or moved away, taking it anew");
            self.open()?;
        }
        Ok(())
    }

    fn write_alone(&mut self, batch: &Batch) -> Result<(), BoxError> {
        if self.tracks.first().is_some_and(Track::is_stalled) {
            // Another file system may be mounted there by now. What is wrong shows below.
            drop(self.keep_lock());
        }
        self.write_to(0, batch.received(), batch.as_lines(), batch.len() as u64)
    }

    /// Makes what has changed durable at once, where that is much; says whether it did.
    fn sync_together(&mut self, now: UnixNanos) -> bool {
        let dirty = self.tracks.iter().filter(|track| track.is_dirty()).count();
        if self.settings.sync_interval.is_none() || dirty < MANY_DIRTY {
            return false;
        }
        let synced = sync_all(&self.settings.dir);
        let error = synced.as_ref().err();
        if let Some(error) = error {
            error!(%error, cause = %error.source, "lines may not be durable");
        }
        for track in &mut self.tracks {
            track.synced_together(now, error);
        }
        self.synced = Instant::now();
        true
    }

    /// Goes on to the hour of this time.
    fn roll(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        let hour = Hour::containing(now);
        let behind = self.tracks.iter().filter(|track| !track.is_at(hour)).count();
        let many = behind >= MANY_DIRTY;
        if many {
            self.sync_together(now);
            for index in 0..self.tracks.len() {
                self.wake(index);
                let Some(track) = self.tracks.get_mut(index) else { continue };
                if !track.is_at(hour) {
                    track.leave(now, true, &self.stats);
                }
            }
        }
        let mut first = Ok(());
        for index in 0..self.tracks.len() {
            if self.tracks.get(index).is_some_and(|track| !track.is_at(hour)) {
                first = first.and(self.ready(index, now));
            }
        }
        if many {
            self.sync_together(now);
        }
        first
    }
}

impl Sink for Jsonl {
    fn destination(&self) -> String {
        let stem = match (&self.router, self.tracks.first()) {
            (None, Some(track)) => track.place.stem.as_str(),
            _ => "*",
        };
        self.settings.dir.join(format!("{stem}_*.jsonl")).display().to_string()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        let Settings { dir, mode, .. } = &self.settings;
        refuse_foreign_links(dir)?;
        DirBuilder::new()
            .recursive(true)
            .mode(Mode::new(*mode).of_directory())
            .create(dir)
            .map_err(|source| CannotCreate { dir: dir.clone(), source })?;
        self.lock = Some(DirLock::acquire(dir, LOCK_NAME)?);
        self.mind_limit();
        self.find_tracks();
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        if self.router.is_none() {
            return self.write_alone(batch);
        }
        let hour = Hour::containing(batch.received());
        // What is kept back belongs to one hour.
        let next_hour = self.kept.hour().is_some_and(|kept| kept != hour);
        if self.kept.is_full() || next_hour {
            self.write_kept()?;
        }
        if next_hour && hour > Hour::containing(self.told.0) {
            self.roll(batch.received())?;
        }
        self.route(batch);
        Ok(())
    }

    fn buffered(&self) -> u64 {
        self.kept.len() as u64
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        if self.kept.is_empty() { Ok(()) } else { self.write_kept() }
    }

    fn keeps_rejected(&self) -> bool {
        true
    }

    fn reject(&mut self, rejected: &[Rejected]) -> Result<(), BoxError> {
        self.write_rejects(rejected)
    }

    fn event(&mut self, at: UnixNanos, event: &FeedEvent) -> Result<(), BoxError> {
        self.journal(at, event)
    }

    fn tick(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        // What was received before belongs before.
        let mut first = self.flush();
        self.kept.shrink();
        self.told = (now, Instant::now());
        first = first.and(self.keep_lock());
        for _ in 0..self.tracks.len().min(LOOKED_AT) {
            self.looked_at = (self.looked_at + 1) % self.tracks.len();
            if let Some(track) = self.tracks.get_mut(self.looked_at) {
                track.ensure_in_place();
            }
        }
        // One that cannot go on is no reason to leave the others.
        first = first.and(self.roll(now));
        let due =
            self.settings.sync_interval.is_some_and(|every| self.synced.elapsed() + SLACK >= every);
        if due {
            self.sync_together(now);
        }
        let tracks = u32::try_from(self.tracks.len()).unwrap_or(u32::MAX);
        let between = self.settings.mark_interval.max(LEAST_BETWEEN_MARKS * tracks);
        let alone = self.router.is_none();
        for track in &mut self.tracks {
            first = first.and(track.tick(now, between, &self.stats).map_err(BoxError::from));
            if alone || track.awake {
                continue;
            }
            // What was opened for that is not needed any longer.
            track.rest();
        }
        first.and(self.sync_rejects().map_err(BoxError::from))
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let flushed = self.flush();
        let now = self.now();
        let many = self.tracks.len() >= MANY_DIRTY && self.settings.sync_interval.is_some();
        let together = many && {
            self.sync_together(now);
            true
        };
        let mut first = flushed;
        for index in 0..self.tracks.len() {
            self.wake(index);
            if let Some(track) = self.tracks.get_mut(index) {
                let closed = track.close(now, true, together, &self.stats);
                first = first.and(closed.map_err(BoxError::from));
            }
        }
        if together {
            first = first.and(sync_all(&self.settings.dir).map_err(BoxError::from));
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
struct CannotCreate {
    dir: PathBuf,
    source: std::io::Error,
}

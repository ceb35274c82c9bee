//! Lines that are kept back, each with its track, so that one write serves many.

use tracing::warn;

use super::super::CONTROL;
use super::Jsonl;
use crate::archive::layout::Stem;
use crate::batch::Batch;
use crate::plugin::BoxError;

/// Room for the lines of one write.
const WRITE_ROOM: usize = 256 << 10;

/// The lines, as they came, and which tracks have some of them. They are copied as a block, and once
/// more for their track's write: that is far less work for the caches than a place of its own for
/// each line would be.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) lines: Vec<u8>,
    pub(super) tracks: Vec<usize>,
    /// The lines of one track, while they are written.
    together: Vec<u8>,
}

impl Jsonl {
    /// Keeps the lines of the batch back, each with its track.
    pub(super) fn route(&mut self, batch: &Batch) {
        let (known, mut fresh) = (self.tracks.len(), Vec::new());
        let Some(router) = &mut self.router else { return };
        router.meet(batch, |name| match Stem::from_topic(name) {
            Ok(stem) => {
                fresh.push(stem);
                known + fresh.len() - 1
            }
            Err(error) => {
                warn!(topic = name, %error, "no file can be named after this topic; its lines go to `{CONTROL}`");
                0
            }
        });
        for stem in fresh {
            self.add(stem);
        }
        let router = self.router.take();
        match router.as_ref().and_then(|router| router.places(batch)) {
            Some(places) => self.keep(batch, places),
            None => self.keep(batch, std::iter::repeat(0)),
        }
        self.router = router;
    }

    fn keep(&mut self, batch: &Batch, places: impl Iterator<Item = usize>) {
        let received = batch.received();
        let mut start = self.kept.lines.len();
        self.kept.lines.extend_from_slice(batch.as_lines());
        for (line, place) in batch.lines().zip(places) {
            let end = start + line.len();
            if let Some(track) = self.tracks.get_mut(place) {
                if track.kept() == 0 {
                    self.kept.tracks.push(place);
                }
                track.keep(received, start..end);
            }
            start = end;
        }
    }

    /// Writes what is kept back. What fails stays, and the others go on.
    pub(super) fn write_kept(&mut self) -> Result<(), BoxError> {
        let mut kept = std::mem::take(&mut self.kept);
        let mut first = Ok(());
        for index in std::mem::take(&mut kept.tracks) {
            let Some(track) = self.tracks.get_mut(index) else { continue };
            if track.is_stalled() {
                track.ensure_in_place();
            }
            let received = track.kept_received();
            let (ready, now) = (self.ready(index, received), self.now());
            let Some(track) = self.tracks.get_mut(index) else { continue };
            let written = match ready {
                Ok(()) => track.write_kept(&kept.lines, &mut kept.together, now),
                Err(error) => track.end_write(Err(error), now),
            };
            track.mind_journal(&self.stats);
            if let Err(error) = written {
                kept.tracks.push(index);
                first = first.and(Err(error));
            }
        }
        if first.is_ok() {
            kept.lines.clear();
        }
        kept.together.clear();
        kept.together.shrink_to(WRITE_ROOM);
        self.kept = kept;
        first
    }
}

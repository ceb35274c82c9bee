//! Lines that are kept back, each with its track, so that one write serves many.

use tracing::warn;

use super::super::CONTROL;
use super::super::route::KEPT_BYTES;
use super::Jsonl;
use crate::archive::layout::Stem;
use crate::batch::Batch;
use crate::plugin::BoxError;

impl Jsonl {
    /// Keeps the lines of the batch back, each with its track.
    pub(super) fn route(&mut self, batch: &Batch) {
        let Some(mut router) = self.router.take() else { return };
        let (received, control) = (batch.received(), 0);
        let mut fresh = Vec::new();
        let known = self.tracks.len();
        let (tracks, kept) = (&mut self.tracks, &mut self.kept);
        // Lines of topics that are new, in order; their tracks do not exist yet.
        let mut first_lines: Vec<(usize, Vec<u8>)> = Vec::new();
        let add = |name: &str| match Stem::from_topic(name) {
            Ok(stem) => {
                fresh.push(stem);
                known + fresh.len() - 1
            }
            Err(error) => {
                warn!(topic = name, %error, "no file can be named after this topic; its lines go to `{CONTROL}`");
                control
            }
        };
        router.route(batch, add, |index, line| match tracks.get_mut(index) {
            Some(track) => {
                if track.kept() == 0 {
                    kept.1.push(index);
                }
                track.keep(received, line);
                kept.0 += line.len();
            }
            None => first_lines.push((index, line.to_vec())),
        });
        self.router = Some(router);
        for stem in fresh {
            self.add(stem);
        }
        for (index, line) in first_lines {
            if let Some(track) = self.tracks.get_mut(index) {
                if track.kept() == 0 {
                    self.kept.1.push(index);
                }
                track.keep(received, &line);
                self.kept.0 += line.len();
            }
        }
    }

    /// Writes what is kept back. What fails stays, and the others go on.
    pub(super) fn write_kept(&mut self) -> Result<(), BoxError> {
        let room = KEPT_BYTES / self.tracks.len().max(1);
        let mut first = Ok(());
        for index in std::mem::take(&mut self.kept.1) {
            let Some(track) = self.tracks.get_mut(index) else { continue };
            if track.is_stalled() {
                track.ensure_in_place();
            }
            let received = track.kept_received();
            let (ready, now) = (self.ready(index, received), self.now());
            let Some(track) = self.tracks.get_mut(index) else { continue };
            let written = match ready {
                Ok(()) => track.write_kept(room, now),
                Err(error) => track.end_write(Err(error), now),
            };
            track.mind_journal(&self.stats);
            if let Err(error) = written {
                self.kept.1.push(index);
                first = first.and(Err(error));
            }
        }
        if first.is_ok() {
            self.kept.0 = 0;
        }
        first
    }
}

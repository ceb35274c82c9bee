//! Messages that stages set aside.

use super::super::track::Track;
use super::Jsonl;
use crate::archive::disk::{FileError, append_lines, sync_path};
use crate::archive::layout::{Kind, Stem};
use crate::archive::open_hour::Place;
use crate::clock::Hour;
use crate::plugin::{BoxError, Rejected};

impl Jsonl {
    /// Writes messages that are set aside, each beside its hour.
    pub(super) fn write_rejects(&mut self, rejected: &[Rejected]) -> Result<(), BoxError> {
        // What could not be written is written first, and is these: they are given again.
        if self.rejects.is_empty() {
            self.sort_rejects(rejected)?;
        }
        while let Some(mut of_file) = self.rejects.first_entry() {
            let (lines, index, messages) = std::mem::take(of_file.get_mut());
            let path = of_file.key().clone();
            if let Err(error) = append_lines(&path, self.settings.mode, &lines) {
                of_file.insert((lines, index, messages));
                return Err(error.into());
            }
            self.rejects.remove(&path);
            if let Some(track) = self.tracks.get_mut(index) {
                track.rejected += messages;
            }
            self.dirty_rejects.insert(path);
        }
        Ok(())
    }

    pub(super) fn sync_rejects(&mut self) -> Result<(), FileError> {
        if self.settings.sync_interval.is_some() {
            while let Some(path) = self.dirty_rejects.pop_first() {
                sync_path(&path)?;
            }
        }
        self.dirty_rejects.clear();
        Ok(())
    }

    /// Which file each message goes to.
    fn sort_rejects(&mut self, rejected: &[Rejected]) -> Result<(), BoxError> {
        for one in rejected {
            let topic = one.topic.as_deref().and_then(|topic| Stem::from_topic(topic).ok());
            // The first is the only one, or for what has no topic.
            let of_topic = |track: &Track| Some(&track.place.stem) == topic.as_ref();
            let index = self.tracks.iter().position(of_topic).unwrap_or(0);
            let Some(track) = self.tracks.get(index) else { continue };
            let Place { dir, stem, .. } = &track.place;
            let path = stem.path(dir, Hour::containing(one.t), Kind::Rejects);
            let (lines, of, messages) = self.rejects.entry(path).or_default();
            serde_json::to_writer(&mut *lines, one)?;
            lines.push(b'\n');
            (*of, *messages) = (index, *messages + 1);
        }
        Ok(())
    }
}

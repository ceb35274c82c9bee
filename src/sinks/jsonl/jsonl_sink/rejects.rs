//! Messages that stages set aside.

use super::JsonlSink;
use crate::archive::disk::{FileError, append_lines, sync_if_exists};
use crate::archive::file_name::{FileKind, Stem};
use crate::archive::hour_writer::HourWriterOptions;
use crate::base::time::Hour;
use crate::plugin::{BoxError, RejectedMessage};
use crate::sinks::jsonl::topic_writer::TopicWriter;

impl JsonlSink {
    /// Writes messages that are set aside, each beside its hour.
    pub(super) fn write_rejects(&mut self, rejected: &[RejectedMessage]) -> Result<(), BoxError> {
        // What could not be written is written first, and is these: they are given again.
        if self.pending_rejects.is_empty() {
            self.group_rejects_by_file(rejected)?;
        }
        while let Some(mut of_file) = self.pending_rejects.first_entry() {
            let (lines, index, messages) = std::mem::take(of_file.get_mut());
            let path = of_file.key().clone();
            if let Err(error) = append_lines(&path, self.settings.mode, &lines) {
                of_file.insert((lines, index, messages));
                return Err(error.into());
            }
            self.pending_rejects.remove(&path);
            if let Some(track) = self.writers.get_mut(index) {
                track.unjournaled_rejects += messages;
            }
            self.unsynced_reject_files.insert(path);
        }
        Ok(())
    }

    pub(super) fn sync_rejects(&mut self) -> Result<(), FileError> {
        if self.settings.sync_interval.is_some() {
            while let Some(path) = self.unsynced_reject_files.pop_first() {
                sync_if_exists(&path)?;
            }
        }
        self.unsynced_reject_files.clear();
        Ok(())
    }

    /// Which file each message goes to.
    fn group_rejects_by_file(&mut self, rejected: &[RejectedMessage]) -> Result<(), BoxError> {
        for one in rejected {
            let topic = one.topic.as_deref().and_then(|topic| Stem::from_topic(topic).ok());
            // The first is the only one, or for what has no topic.
            let of_topic = |track: &TopicWriter| Some(&track.options.stem) == topic.as_ref();
            let index = self.writers.iter().position(of_topic).unwrap_or(0);
            let Some(track) = self.writers.get(index) else { continue };
            let HourWriterOptions { dir, stem, .. } = &track.options;
            let path = stem.path(dir, Hour::containing(one.t), FileKind::Rejects);
            let (lines, of, messages) = self.pending_rejects.entry(path).or_default();
            serde_json::to_writer(&mut *lines, one)?;
            lines.push(b'\n');
            (*of, *messages) = (index, *messages + 1);
        }
        Ok(())
    }
}

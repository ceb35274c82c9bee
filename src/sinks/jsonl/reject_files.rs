//! The `.rejects` files, which hold the messages that stages rejected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::topic_writers::TopicWriters;
use super::writer_index::WriterIndex;
use crate::archive::disk::{FileError, append_lines, sync_if_exists};
use crate::archive::file_name::FileKind;
use crate::base::units::FileMode;
use crate::plugin::{BoxError, RejectedMessage};

/// The writer of the `.rejects` files, of which each stands beside the lines of its hour.
pub(super) struct RejectFiles {
    file_mode: FileMode,
    /// `true` makes files durable, `false` leaves that to the operating system.
    sync: bool,
    /// Rejected messages that are not yet written, by file.
    pending: BTreeMap<PathBuf, PendingRejects>,
    /// Files that are not yet durable.
    unsynced: BTreeSet<PathBuf>,
}

/// Rejected messages that are to be written to one file.
struct PendingRejects {
    lines: Vec<u8>,
    messages: u64,
    /// The writer whose journal records them.
    writer: WriterIndex,
}

impl RejectFiles {
    /// Returns a writer that has written nothing.
    pub(super) fn new(file_mode: FileMode, sync: bool) -> Self {
        Self { file_mode, sync, pending: BTreeMap::new(), unsynced: BTreeSet::new() }
    }

    /// Writes rejected messages.
    ///
    /// # Errors
    /// Some messages are not written. The next call writes only those, since the engine calls again
    /// with the same messages.
    pub(super) fn write(
        &mut self,
        rejected: &[RejectedMessage],
        writers: &mut TopicWriters,
    ) -> Result<(), BoxError> {
        if self.pending.is_empty() {
            self.pending = group_by_file(rejected, writers)?;
        }
        while let Some(entry) = self.pending.first_entry() {
            let PendingRejects { lines, messages, writer } = entry.get();
            append_lines(entry.key(), self.file_mode.bits(), lines)?;
            writers.get_mut(*writer).count_rejects(*messages);
            let (path, _) = entry.remove_entry();
            self.unsynced.insert(path);
        }
        Ok(())
    }

    /// Makes the files durable, unless that is left to the operating system.
    ///
    /// # Errors
    /// A file may not be durable.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        if self.sync {
            while let Some(path) = self.unsynced.pop_first() {
                sync_if_exists(&path)?;
            }
        }
        self.unsynced.clear();
        Ok(())
    }
}

fn group_by_file(
    rejected: &[RejectedMessage],
    writers: &TopicWriters,
) -> Result<BTreeMap<PathBuf, PendingRejects>, serde_json::Error> {
    let mut by_file = BTreeMap::new();
    for message in rejected {
        let topic_writer = message.topic.as_deref().and_then(|topic| writers.index_of(topic));
        let writer = topic_writer.unwrap_or(WriterIndex::FIRST);
        let path = writers.file_path(writer, message.t, FileKind::Rejects);
        let new = || PendingRejects { lines: Vec::new(), messages: 0, writer };
        let pending = by_file.entry(path).or_insert_with(new);
        serde_json::to_writer(&mut pending.lines, message)?;
        pending.lines.push(b'\n');
        pending.messages += 1;
    }
    Ok(by_file)
}

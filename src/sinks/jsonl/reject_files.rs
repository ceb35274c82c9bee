//! The `.rejects` files, which hold the messages that stages rejected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tracing::error;

use super::topic_writers::TopicWriters;
use super::writer_index::WriterIndex;
use crate::archive::disk::{FailureScope, FileError, append_lines, sync_if_exists};
use crate::archive::file_name::FileKind;
use crate::archive::journal::{DropCause, JournalEvent};
use crate::archive::parts::continue_in_next_file;
use crate::base::error_chain::error_chain;
use crate::base::log_budget::LogBudget;
use crate::base::time::{Hour, UnixNanos};
use crate::base::units::FileMode;
use crate::plugin::{BoxError, RejectedMessage};

/// Maximum number of bytes that wait for one file, which cannot be written while others can.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// The writer of the `.rejects` files, of which each stands beside the lines of its hour.
pub(super) struct RejectFiles {
    file_mode: FileMode,
    /// `true` makes files durable, `false` leaves that to the operating system.
    sync: bool,
    /// Rejected messages that are not yet written, by file.
    pending: BTreeMap<PathBuf, PendingRejects>,
    /// Rejected messages whose file cannot be written, while others can.
    waiting: BTreeMap<PathBuf, PendingRejects>,
    failure_log: LogBudget,
    /// Files that are not yet durable.
    unsynced: BTreeSet<PathBuf>,
}

/// Rejected messages that are to be written to one file.
struct PendingRejects {
    lines: Vec<u8>,
    messages: u64,
    /// Time at which the first of them was received.
    since: UnixNanos,
    /// The writer whose journal records them.
    writer: WriterIndex,
}

impl RejectFiles {
    /// Returns a writer that has written nothing.
    pub(super) fn new(file_mode: FileMode, sync: bool) -> Self {
        Self {
            file_mode,
            sync,
            pending: BTreeMap::new(),
            waiting: BTreeMap::new(),
            failure_log: LogBudget::default(),
            unsynced: BTreeSet::new(),
        }
    }

    /// Writes rejected messages. Those whose file alone is in trouble wait in memory.
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
        while let Some((path, rejects)) = self.pending.pop_first() {
            let mut rejects = match self.waiting.remove(&path) {
                Some(waiting) => waiting.followed_by(&rejects),
                None => rejects,
            };
            match rejects.write_to(&path, self.file_mode, writers) {
                Ok(()) => drop(self.unsynced.insert(path)),
                Err(error) if error.scope() == FailureScope::File => {
                    self.wait(path, rejects, &error, writers);
                }
                Err(error) => {
                    self.pending.insert(path, rejects);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Lets messages wait for their file, or gives them up if they are too many.
    fn wait(
        &mut self,
        path: PathBuf,
        rejects: PendingRejects,
        error: &FileError,
        writers: &mut TopicWriters,
    ) {
        if self.failure_log.is_due() {
            let messages = rejects.messages;
            let error = error_chain(error);
            error!(
                error,
                messages,
                "rejected messages cannot be set aside: they wait in memory, and are lost when there are more than fit"
            );
        }
        if rejects.lines.len() <= MAX_WAITING_BYTES {
            self.waiting.insert(path, rejects);
        } else {
            rejects.give_up(error, writers);
        }
    }

    /// Tries to write the messages that wait for their file. Those of an hour that is over are given
    /// up, if `now` is the time of a tick, and all of them at the end.
    pub(super) fn retry_waiting(&mut self, now: Option<UnixNanos>, writers: &mut TopicWriters) {
        let hour = now.map(Hour::containing);
        for (path, mut rejects) in std::mem::take(&mut self.waiting) {
            match rejects.write_to(&path, self.file_mode, writers) {
                Ok(()) => drop(self.unsynced.insert(path)),
                Err(_) if hour.is_some_and(|hour| hour <= Hour::containing(rejects.since)) => {
                    self.waiting.insert(path, rejects);
                }
                Err(error) => rejects.give_up(&error, writers),
            }
        }
    }

    /// Returns whether messages wait for their file, or for a sync.
    pub(super) fn needs_tick(&self) -> bool {
        !self.waiting.is_empty() || !self.unsynced.is_empty()
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

impl PendingRejects {
    /// Returns these messages and then the others, which are for the same file.
    fn followed_by(mut self, others: &Self) -> Self {
        self.lines.extend_from_slice(&others.lines);
        self.messages += others.messages;
        self
    }

    /// Appends the messages to the file. Where it has the largest possible size, it becomes a part of
    /// its hour, and where that does not help, fewer messages are written at once.
    ///
    /// # Errors
    /// Some messages are not written; only those are kept here.
    fn write_to(
        &mut self,
        path: &Path,
        mode: FileMode,
        writers: &mut TopicWriters,
    ) -> Result<(), FileError> {
        let mut length = self.lines.len();
        while length > 0 {
            let lines = self.lines.get(..length).unwrap_or_default();
            let messages = memchr::memchr_iter(b'\n', lines).count() as u64;
            match append_lines(path, mode.bits(), lines) {
                Ok(()) => {
                    self.lines.drain(..length);
                    self.messages -= messages;
                    writers.get_mut(self.writer).count_rejects(messages);
                    length = self.lines.len();
                }
                Err(error) if !error.is_too_large() => return Err(error),
                Err(_) if continue_in_next_file(path, FileKind::RejectsPart)?.is_some() => {}
                Err(_) if messages > 1 => {
                    let half = lines.get(..length / 2).unwrap_or_default();
                    let end = memchr::memrchr(b'\n', half).or(memchr::memchr(b'\n', lines));
                    length = end.map_or(length, |end| end + 1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Records in the journal that the messages are lost.
    fn give_up(self, error: &FileError, writers: &mut TopicWriters) {
        let at = writers.now().max(self.since);
        let drop = JournalEvent::Drop {
            since: self.since,
            messages: self.messages,
            cause: DropCause::Unwritable.as_str().to_owned(),
            shared: false,
            detail: error_chain(error),
        };
        writers.get_mut(self.writer).record_event(at, drop);
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
        let since = message.t;
        let new = || PendingRejects { lines: Vec::new(), messages: 0, since, writer };
        let pending = by_file.entry(path).or_insert_with(new);
        serde_json::to_writer(&mut pending.lines, message)?;
        pending.lines.push(b'\n');
        pending.messages += 1;
    }
    Ok(by_file)
}

//! The marks of a journal, as positions in the lines of the sealed file.

use crate::archive::checkpoints::Checkpoints;
use crate::archive::journal::{JournalEntry, JournalEvent, SealedPart, entries_since_removal};
use crate::archive::line_position::LinePosition;

/// Returns the positions of all marks of a journal in the lines of the sealed file, sorted.
///
/// # Errors
/// A part was sealed that is shorter than the journal says, in words for people.
pub(super) fn mark_positions(journal: &[JournalEntry]) -> Result<Vec<LinePosition>, String> {
    let mut positions = Vec::new();
    // End of the lines that were sealed before the current part.
    let mut start = LinePosition::default();
    let is_sealed = |entry: &JournalEntry| matches!(entry.event, JournalEvent::Sealed(_));
    for events in entries_since_removal(journal).split_inclusive(is_sealed) {
        // The last events may belong to lines that are not sealed.
        let Some((JournalEntry { event: JournalEvent::Sealed(record), .. }, part)) =
            events.split_last()
        else {
            continue;
        };
        let length = record.raw_bytes.saturating_sub(start.bytes);
        // Another program's seal has no part. The part of a file that replaced a lost one has another
        // length; the comparison with earlier records reports the loss.
        // The marks of a part stand before a `continued`, and not before its seal.
        let is_whole = |part: &SealedPart| part.bytes == length && part.number.is_none();
        if record.part.as_ref().is_some_and(is_whole) {
            let checkpoints = Checkpoints::from_journal(part);
            if let Some(last) = checkpoints.last().filter(|last| last.bytes > length) {
                let sealed = record.messages.saturating_sub(start.messages);
                return Err(format!(
                    "its journal says that {} messages were written, and {sealed} were sealed",
                    last.messages
                ));
            }
            positions.extend(checkpoints.positions().map(|mark| LinePosition {
                bytes: start.bytes + mark.bytes,
                messages: start.messages + mark.messages,
            }));
        }
        start = LinePosition { bytes: record.raw_bytes, messages: record.messages };
    }
    positions.sort_unstable();
    positions.dedup();
    Ok(positions)
}

//! The marks of a journal, as places of the sealed lines.

use crate::archive::checkpoints::Checkpoints;
use crate::archive::journal::{JournalEntry, JournalEvent, entries_since_removal};
use crate::archive::line_position::LinePosition;

/// Where the marks of all parts of a sealed file lie in it, in order.
///
/// # Errors
/// A part that was sealed was shorter than the journal says.
pub(super) fn mark_positions(journal: &[JournalEntry]) -> Result<Vec<LinePosition>, String> {
    let journal = entries_since_removal(journal);
    let mut places = Vec::new();
    // Where the part begins: what was sealed before it.
    let mut before = LinePosition::default();
    let mut begin = 0;
    for (index, JournalEntry { event, .. }) in journal.iter().enumerate() {
        let JournalEvent::Sealed(record) = event else { continue };
        let part = journal.get(begin..index).unwrap_or_default();
        begin = index + 1;
        let length = record.raw_bytes.saturating_sub(before.bytes);
        let fits = record.part.as_ref().is_some_and(|part| part.bytes == length);
        if fits {
            let claims = Checkpoints::from_journal(part);
            if let Some(last) = claims.last().filter(|last| last.bytes > length) {
                let sealed = record.messages.saturating_sub(before.messages);
                return Err(format!(
                    "its journal says that {} messages were written, and {sealed} were sealed",
                    last.messages
                ));
            }
            let absolute = |place: LinePosition| LinePosition {
                bytes: before.bytes + place.bytes,
                messages: before.messages + place.messages,
            };
            places.extend(claims.positions().map(absolute));
        }
        before = LinePosition { bytes: record.raw_bytes, messages: record.messages };
    }
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

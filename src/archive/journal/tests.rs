//! Journals read back, whole, torn and of other versions.

use proptest::prelude::*;

use super::*;
use crate::archive::digest::Digester;

fn record(bytes: u64) -> SealRecord {
    let hash = Digester::new().finish().sha256;
    SealRecord {
        raw_bytes: bytes,
        messages: 1,
        raw_sha256: hash,
        stored_bytes: 9,
        stored_sha256: hash,
        torn: false,
        part: Some(Part { bytes, sha256: hash, inode: 7, modified: 8, created: None }),
    }
}

fn times(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.t).collect()
}

#[test]
fn what_is_appended_is_read_back_past_what_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t_3600.journal");
    assert_eq!(read(&path).unwrap(), []);
    assert_eq!(outline(&path).unwrap(), None);
    let start = "{\"t\":1,\"event\":\"shipped\",\"to\":5}\n{\"t\":2,\"eve";
    std::fs::write(&path, start).unwrap();
    append(&path, UnixNanos::new(3), Event::Sealing(record(1))).unwrap();
    append(&path, UnixNanos::new(4), Event::Sealed(record(1))).unwrap();
    append(&path, UnixNanos::new(5), Event::Sealing(record(2))).unwrap();
    let entries = read(&path).unwrap();
    // The unknown event is skipped, the torn line is seen.
    assert_eq!(times(&entries), [0, 3, 4, 5]);
    assert_eq!(entries[0].event, Event::Torn);
    assert_eq!(records(&entries), [record(1), record(2)]);
}

#[test]
fn an_outline_has_the_last_of_marks_alone() {
    let mut bytes = Vec::new();
    let mark = |bytes| Event::Mark(Mark { bytes, messages: 1, synced: None });
    for (t, event) in [
        (1, mark(1)),
        (2, mark(2)),
        (3, Event::Up { connection: 1 }),
        (4, Event::Resume),
        (5, mark(3)),
        (6, mark(4)),
    ] {
        bytes.extend(line_of(UnixNanos::new(t), event));
    }
    // A torn mark is a torn line.
    bytes.extend_from_slice(br#"{"t":7,"event":"mark","byt"#);
    assert_eq!(times(&parse(&bytes, Marks::Last)), [2, 3, 4, 6, 0]);
    assert_eq!(times(&parse(&bytes, Marks::All)), [1, 2, 3, 4, 5, 6, 0]);
}

#[test]
fn the_longest_mark_is_seen_for_one() {
    let mark = Mark { bytes: u64::MAX, messages: u64::MAX, synced: Some(u64::MAX) };
    let line = line_of(UnixNanos::new(u64::MAX), Event::Mark(mark));
    let two = line.repeat(2);
    assert_eq!(parse(&two, Marks::Last).len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>, cut in 0..200_usize) {
        parse(&bytes, Marks::All);
        parse(&bytes, Marks::Last);
        // Whatever stands before and behind it, a whole event is read.
        let event = line_of(UnixNanos::new(5), Event::Up { connection: 1 });
        let mut all = event.clone();
        all.extend(&event[..cut.min(event.len() - 1)]);
        all.push(b'\n');
        all.extend(bytes.iter().filter(|byte| **byte != b'\n'));
        all.push(b'\n');
        all.extend(&event);
        let read = parse(&all, Marks::All);
        prop_assert_eq!(read.first().unwrap().t, 5);
        prop_assert_eq!(&read.last().unwrap().event, &Event::Up { connection: 1 });
    }
}

//! Reading of complete journals, torn journals and journals of later versions.

use proptest::prelude::*;

use super::*;
use crate::archive::digest::Digester;
use crate::base::connection_id::ConnectionId;

fn seal_record(bytes: u64) -> SealRecord {
    let hash = Digester::new().finish().sha256;
    SealRecord {
        raw_bytes: bytes,
        messages: 1,
        raw_sha256: hash,
        stored_bytes: 9,
        stored_sha256: hash,
        torn: false,
        part: Some(SealedPart {
            number: None,
            bytes,
            sha256: hash,
            inode: 7,
            modified: UnixNanos::new(8),
            created: None,
        }),
    }
}

fn times(entries: &[JournalEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.t.nanos()).collect()
}

#[test]
fn appended_events_are_read_back_and_unknown_events_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t_3600.journal");
    assert_eq!(read(&path).unwrap(), []);
    assert_eq!(read_compacted(&path).unwrap(), None);
    let start = "{\"t\":1,\"event\":\"shipped\",\"to\":5}\n{\"t\":2,\"eve";
    std::fs::write(&path, start).unwrap();
    append(&path, UnixNanos::new(3), JournalEvent::Sealing(seal_record(1))).unwrap();
    append(&path, UnixNanos::new(4), JournalEvent::Sealed(seal_record(1))).unwrap();
    append(&path, UnixNanos::new(5), JournalEvent::Sealing(seal_record(2))).unwrap();
    let entries = read(&path).unwrap();
    // The unknown event is skipped; the torn line is reported.
    assert_eq!(times(&entries), [0, 3, 4, 5]);
    assert_eq!(entries[0].event, JournalEvent::Torn);
    assert_eq!(seal_records(&entries), [seal_record(1), seal_record(2)]);
}

#[test]
fn compacted_read_keeps_the_last_of_successive_marks() {
    let mut bytes = Vec::new();
    let mark = |bytes| JournalEvent::Mark(Mark { bytes, messages: 1, synced: None });
    for (t, event) in [
        (1, mark(1)),
        (2, mark(2)),
        (3, JournalEvent::Up { connection: ConnectionId::new(1) }),
        (4, JournalEvent::Resume),
        (5, mark(3)),
        (6, mark(4)),
    ] {
        bytes.extend(encode_line(&JournalEntry { t: UnixNanos::new(t), event }));
    }
    // A torn mark is a torn line.
    bytes.extend_from_slice(br#"{"t":7,"event":"mark","byt"#);
    assert_eq!(times(&parse_entries(&bytes, MarkFilter::LastOnly)), [2, 3, 4, 6, 0]);
    assert_eq!(times(&parse_entries(&bytes, MarkFilter::All)), [1, 2, 3, 4, 5, 6, 0]);
}

#[test]
fn longest_mark_is_recognized_by_its_prefix() {
    let mark = Mark { bytes: u64::MAX, messages: u64::MAX, synced: Some(u64::MAX) };
    let line =
        encode_line(&JournalEntry { t: UnixNanos::new(u64::MAX), event: JournalEvent::Mark(mark) });
    let two = line.repeat(2);
    assert_eq!(parse_entries(&two, MarkFilter::LastOnly).len(), 1);
}

proptest! {
    #[test]
    fn parsing_accepts_arbitrary_bytes(bytes: Vec<u8>, cut in 0..200_usize) {
        parse_entries(&bytes, MarkFilter::All);
        parse_entries(&bytes, MarkFilter::LastOnly);
        // A complete event is read whatever precedes and follows it.
        let event = encode_line(&JournalEntry { t: UnixNanos::new(5), event: JournalEvent::Up { connection: ConnectionId::new(1) } });
        let mut all = event.clone();
        all.extend(&event[..cut.min(event.len() - 1)]);
        all.push(b'\n');
        all.extend(bytes.iter().filter(|byte| **byte != b'\n'));
        all.push(b'\n');
        all.extend(&event);
        let read = parse_entries(&all, MarkFilter::All);
        prop_assert_eq!(read.first().unwrap().t, UnixNanos::new(5));
        prop_assert_eq!(&read.last().unwrap().event, &JournalEvent::Up { connection: ConnectionId::new(1) });
    }
}

#[test]
fn every_event_encodes_to_the_text_of_format_version_1() {
    let t = UnixNanos::new(1);
    let text = |event| String::from_utf8(encode_line(&JournalEntry { t, event })).unwrap();
    let event = JournalEvent::Down {
        cause: "eof".to_owned(),
        detail: "d".to_owned(),
        since: None,
        exact: false,
    };
    assert_eq!(text(event), "{\"t\":1,\"event\":\"down\",\"cause\":\"eof\",\"detail\":\"d\"}\n");
    let since = UnixNanos::new(u64::MAX);
    let event = JournalEvent::SyncFailed { from: 2, to: 3, since, error: "e".to_owned() };
    assert_eq!(
        text(event),
        "{\"t\":1,\"event\":\"sync_failed\",\"from\":2,\"to\":3,\"since\":18446744073709551615,\"error\":\"e\"}\n"
    );
    let event = JournalEvent::Closed(ClosedEvent { first: Some(t), ..ClosedEvent::default() });
    assert_eq!(
        text(event),
        "{\"t\":1,\"event\":\"closed\",\"bytes\":0,\"messages\":0,\"first\":1,\"stop\":false,\"durable\":false}\n"
    );
    let hash = Digester::new().finish().sha256;
    let sealed = text(JournalEvent::Sealed(seal_record(1)));
    let hash = serde_json::to_string(&hash).unwrap();
    assert_eq!(
        sealed,
        format!(
            "{{\"t\":1,\"event\":\"sealed\",\"raw_bytes\":1,\"messages\":1,\"raw_sha256\":{hash},\"stored_bytes\":9,\"stored_sha256\":{hash},\"part\":{{\"bytes\":1,\"sha256\":{hash},\"inode\":7,\"modified\":8}}}}\n"
        )
    );
    // Encoding cannot fail, not even for the one event that is never written.
    assert_eq!(text(JournalEvent::Torn), "{\"t\":1,\"event\":\"torn\"}\n");
    assert_eq!(parse_entry(b"{\"t\":1,\"event\":\"torn\"}"), None);
}

//! Tests on a file system that lacks an operation.

use std::time::Duration;

use rustix::io::Errno;

use super::recording_faults::{TestRecorder, read_gaps};
use super::*;
use crate::archive::disk::DiskOperation;
use crate::archive::disk::injected_fault::without_operation;
use crate::archive::gaps::GapKind;
use crate::archive::hour_writer::CloseReason;
use crate::archive::journal::{ClosedEvent, JournalEvent};
use crate::base::connection_id::ConnectionId;

/// Each operation that a file system may lack, with the errors that are known of such file systems.
const MISSING: &[(DiskOperation, &[Errno])] = &[
    (DiskOperation::Lock, &[Errno::BADF, Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP]),
    (DiskOperation::Sync, &[Errno::INVAL, Errno::NOSYS]),
    (
        DiskOperation::SyncDirectory,
        &[Errno::INVAL, Errno::NOTSUP, Errno::BADF, Errno::NOSYS, Errno::ACCESS],
    ),
    (DiskOperation::SyncFileSystem, &[Errno::NOSYS]),
    (DiskOperation::SetOwner, &[Errno::PERM, Errno::NOSYS, Errno::INVAL]),
    (DiskOperation::SetMode, &[Errno::PERM, Errno::NOTSUP]),
    (DiskOperation::SetTime, &[Errno::PERM, Errno::NOSYS]),
    (DiskOperation::FreeSpace, &[Errno::NOSYS]),
];

#[test]
fn a_file_system_that_lacks_an_operation_is_recorded_on_sealed_and_aged_without_false_gaps() {
    for &(operation, errnos) in MISSING {
        for &errno in errnos {
            let what = format!("{operation:?}: {errno}");
            let mut archive = TestArchive::new();
            archive.job.limits.max_age = Some(Duration::from_secs(3 * 3600));
            archive.job.limits.min_free_disk = Some(1);
            archive.write(3, FileKind::Lines, lines(0..5));
            let (summary, events) = without_operation(operation, errno, || {
                let mut recorder = TestRecorder::new(&archive, "first");
                recorder
                    .record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
                recorder.write(36_010, 0..10);
                recorder.tick(36_011);
                recorder.write(36_020, 10..20);
                recorder.tick(36_021);
                recorder.close_hour(36_022, CloseReason::Stopped);
                archive.run()
            });
            assert_eq!((summary.sealed, summary.removed, summary.failures), (2, 1, 0), "{what}");
            assert!(events.iter().all(|event| !event.is_warning()), "{what}: {events:?}");
            assert_eq!(archive.cat(10), lines(0..20), "{what}");
            assert_eq!(archive.names(), ["t_36000.journal", "t_36000.jsonl.zst"], "{what}");
            let gaps = read_gaps(&archive);
            let is_expected = |kind| matches!(kind, GapKind::NotRecorded | GapKind::NotRunning);
            assert!(gaps.iter().all(|gap| is_expected(gap.kind)), "{what}: {gaps:?}");
            let verdicts = archive.verdicts();
            assert!(matches!(verdicts.as_slice(), [HourVerdict::Intact { .. }]), "{what}");
            // Without syncs nothing is called durable.
            let journal = journal::read(&archive.path(10, FileKind::Journal)).unwrap();
            let closed = journal.iter().find_map(|entry| match &entry.event {
                JournalEvent::Closed(ClosedEvent { durable, .. }) => Some(*durable),
                _ => None,
            });
            assert_eq!(closed, Some(operation != DiskOperation::Sync), "{what}");
        }
    }
}

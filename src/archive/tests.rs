//! Tests of sealing and of the job on real directories, also with a fault at every operation.

mod concurrent_writers;
mod continued_hours;
mod malformed_files;
mod missing_operations;
mod power_cut;
mod recording_faults;
mod retention;
mod seal_faults;
mod times;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::cat::CatError;
use super::compress::Compression;
use super::dir_lock::{DirLock, DirLockKind};
use super::directory::Directory;
use super::file_name::{FileKind, Stem};
use super::job::{Job, JobError, JobEvent, JobSummary};
use super::journal;
use super::progress::{Progress, Stopped};
use super::retention::RetentionLimits;
use super::verify::{HourVerdict, verify_hour, verify_hours};
use crate::base::time::{Hour, ManualClock, UnixNanos};

/// Directory with hours of the stem `t`, and a clock at a minute past noon of the first day of
/// 1970.
struct TestArchive {
    dir: tempfile::TempDir,
    job: Job,
    clock: ManualClock,
}

/// Time at which the tests begin, Unix seconds.
const NOW: u64 = 12 * 3600 + 60;

impl TestArchive {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let job = Job {
            dir: dir.path().to_owned(),
            compression: Compression { level: 1, long_distance: false },
            threads: 1,
            limits: RetentionLimits::default(),
        };
        Self { dir, job, clock: ManualClock::new(UnixNanos::from_seconds(NOW)) }
    }

    fn path(&self, hour: u64, kind: FileKind) -> PathBuf {
        let stem = Stem::from_topic("t").unwrap();
        stem.path(self.dir.path(), Hour::starting_at(hour * 3600).unwrap(), kind)
    }

    fn write(&self, hour: u64, kind: FileKind, content: impl AsRef<[u8]>) {
        fs::write(self.path(hour, kind), content).unwrap();
    }

    /// Writes late lines, into a file that is created and written after the sealed file.
    fn write_late(&self, hour: u64, content: &str) {
        let path = self.path(hour, FileKind::Lines);
        let sealed = fs::metadata(self.path(hour, FileKind::Sealed)).unwrap();
        // The times of files have a resolution of some milliseconds.
        loop {
            fs::write(&path, content).unwrap();
            let late = fs::metadata(&path).unwrap();
            let tick = |time: &fs::Metadata| time.created().or_else(|_| time.modified()).unwrap();
            if tick(&late) > tick(&sealed) && late.modified().unwrap() > sealed.modified().unwrap()
            {
                return;
            }
            fs::remove_file(&path).unwrap();
        }
    }

    fn try_run(&self) -> Result<(JobSummary, Vec<JobEvent>), JobError> {
        let mut events = Vec::new();
        let mut report = |event: &JobEvent| events.push(event.clone());
        let summary = self.job.run(&self.clock, &Progress::default(), &mut report)?;
        Ok((summary, events))
    }

    fn run(&self) -> (JobSummary, Vec<JobEvent>) {
        self.try_run().unwrap()
    }

    /// Returns the lines of the hour, as `cat` writes them.
    fn cat(&self, hour: u64) -> String {
        let mut lines = Vec::new();
        for entry in Directory::read(self.dir.path()).unwrap().hours {
            if entry.hour.start_seconds() == hour * 3600 {
                let now = UnixNanos::from_seconds(NOW);
                match super::cat::cat_hour(self.dir.path(), &entry, now, &mut lines) {
                    // The job repairs it.
                    Ok(()) | Err(CatError::Unterminated { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        String::from_utf8(lines).unwrap()
    }

    /// Returns the lines of the sealed file, decoded by the zstd library.
    fn decode_sealed(&self, hour: u64) -> String {
        let file = fs::read(self.path(hour, FileKind::Sealed)).unwrap();
        String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap()
    }

    fn verdicts(&self) -> Vec<HourVerdict> {
        let hours = Directory::read(self.dir.path()).unwrap().hours;
        let verdict = |entry| {
            verify_hour(self.dir.path(), entry, UnixNanos::from_seconds(NOW), &Progress::default())
                .unwrap()
        };
        hours.iter().filter_map(verdict).collect()
    }

    fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

/// Returns the names of the files in a directory, except the locks.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// Returns a line for each number of the range.
fn lines(range: std::ops::Range<u64>) -> String {
    let mut lines = String::new();
    for number in range {
        writeln!(lines, "{{\"number\":{number}}}").unwrap();
    }
    lines
}

#[test]
fn a_closed_hour_is_sealed_and_the_open_hour_is_not() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..1000));
    archive.write(12, FileKind::Lines, lines(1000..1001));
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (1, 0));
    assert!(matches!(events.as_slice(), [JobEvent::Sealed { messages: 1000, .. }]), "{events:?}");
    assert_eq!(archive.names(), ["t_36000.journal", "t_36000.jsonl.zst", "t_43200.jsonl"]);
    assert_eq!(archive.decode_sealed(10), lines(0..1000));
    assert_eq!(archive.cat(10), lines(0..1000));
    let raw_bytes = lines(0..1000).len() as u64;
    let open = HourVerdict::Unsealed { messages: 1, raw_bytes: lines(1000..1001).len() as u64 };
    assert_eq!(archive.verdicts(), [HourVerdict::Intact { messages: 1000, raw_bytes }, open]);
    assert_eq!(archive.run(), (JobSummary::default(), vec![]), "nothing is left to do");
}

#[test]
fn a_locked_hour_is_not_sealed() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n");
    let held = fs::File::open(archive.path(10, FileKind::Lines)).unwrap();
    held.lock().unwrap();
    assert_eq!(archive.run().0, JobSummary::default());
    drop(held);
    assert_eq!(archive.run().0.sealed, 1);
}

#[test]
fn an_hour_is_sealed_only_ten_seconds_after_its_end() {
    let archive = TestArchive::new();
    archive.write(11, FileKind::Lines, "1\n");
    archive.clock.set(UnixNanos::from_seconds(12 * 3600 + 9));
    assert_eq!(archive.run().0.sealed, 0);
    archive.clock.set(UnixNanos::from_seconds(12 * 3600 + 10));
    assert_eq!(archive.run().0.sealed, 1);
}

#[test]
fn late_lines_are_appended_to_the_sealed_file_as_a_frame() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..100));
    archive.run();
    let before = fs::read(archive.path(10, FileKind::Sealed)).unwrap();
    archive.write(10, FileKind::Lines, lines(100..150));
    assert_eq!(archive.cat(10), lines(0..150));
    let (_, events) = archive.run();
    assert!(matches!(events.as_slice(), [JobEvent::Sealed { messages: 150, .. }]), "{events:?}");
    assert_eq!(archive.decode_sealed(10), lines(0..150));
    assert!(fs::read(archive.path(10, FileKind::Sealed)).unwrap().starts_with(&before));
    // Also when they equal those that are sealed already.
    archive.write_late(10, &lines(100..150));
    archive.run();
    assert_eq!(archive.decode_sealed(10), lines(0..150) + &lines(100..150));
    let raw_bytes = archive.cat(10).len() as u64;
    assert_eq!(archive.verdicts(), [HourVerdict::Intact { messages: 200, raw_bytes }]);
}

#[test]
fn frames_end_at_line_ends_and_carry_their_size_and_checksum() {
    let archive = TestArchive::new();
    let mut long = lines(0..1_200_000);
    // A line that is longer than two frames.
    writeln!(long, "\"{}\"", "x".repeat(9 << 20)).unwrap();
    long += "\"end\"\n";
    archive.write(10, FileKind::Lines, &long);
    archive.run();
    let stored = fs::read(archive.path(10, FileKind::Sealed)).unwrap();
    let mut rest = stored.as_slice();
    let mut frames = 0;
    let mut raw_bytes = 0;
    while !rest.is_empty() {
        let size = zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
        if rest[1..4] == [0x2A, 0x4D, 0x18] {
            // A skippable frame (RFC 8878, 3.1.2).
            rest = &rest[size..];
            continue;
        }
        let declared = zstd::zstd_safe::get_frame_content_size(rest).unwrap().unwrap();
        assert_eq!(rest[4] & 0b100, 0b100, "RFC 8878, 3.1.1.1.1: Content_Checksum_flag");
        let decoded = zstd::decode_all(&rest[..size]).unwrap();
        assert_eq!(decoded.len() as u64, declared);
        // A longer line is divided: memory stays bounded.
        assert!(decoded.ends_with(b"\n") || decoded.len() == super::compress::FRAME_BYTES);
        rest = &rest[size..];
        frames += 1;
        raw_bytes += decoded.len();
    }
    assert_eq!(raw_bytes, long.len());
    assert!(frames >= 4, "{frames}");
    assert!(archive.decode_sealed(10) == long);
}

#[test]
fn the_sealed_file_keeps_mode_owner_and_time_of_the_lines() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n");
    let path = archive.path(10, FileKind::Lines);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 123_456_789);
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    let before = fs::metadata(&path).unwrap();
    archive.run();
    let after = fs::metadata(archive.path(10, FileKind::Sealed)).unwrap();
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(after.modified().unwrap(), time);
}

#[test]
fn hours_sealed_by_other_programs_are_adopted() {
    let archive = TestArchive::new();
    archive.write(9, FileKind::Sealed, zstd::encode_all(lines(0..10).as_bytes(), 3).unwrap());
    // Compressed with the original kept, and compressed while the original grew.
    archive.write(10, FileKind::Sealed, zstd::encode_all(lines(0..10).as_bytes(), 3).unwrap());
    archive.write(10, FileKind::Lines, lines(0..10));
    archive.write(11, FileKind::Sealed, zstd::encode_all(lines(0..10).as_bytes(), 3).unwrap());
    archive.write(11, FileKind::Lines, lines(0..20));
    assert_eq!([9, 10, 11].map(|hour| archive.cat(hour).lines().count()), [10, 10, 20]);
    let (summary, events) = archive.run();
    assert_eq!((summary.failures, summary.recorded), (0, 1), "{events:?}");
    assert_eq!([9, 10, 11].map(|hour| archive.decode_sealed(hour).lines().count()), [10, 10, 20]);
    assert!(archive.verdicts().iter().all(|verdict| matches!(verdict, HourVerdict::Intact { .. })));
    assert_eq!(archive.names().len(), 6, "three sealed files and three journals");
}

#[test]
fn retention_removes_whole_hours_and_names_the_limit() {
    let mut archive = TestArchive::new();
    for hour in 1..=11 {
        archive.write(hour, FileKind::Lines, lines(0..10));
    }
    archive.run();
    archive.write(3, FileKind::Torn, "{");
    archive.job.limits.max_age = Some(std::time::Duration::from_secs(4 * 3600));
    let (summary, events) = archive.run();
    assert_eq!(summary.removed, 7, "{events:?}");
    assert!(events[0].to_string().contains("for `max_age`"), "{}", events[0]);
    assert_eq!(archive.names().len(), 8);
    archive.job.limits.max_total_size = Some(0);
    assert_eq!(archive.run().0.removed, 4);
    assert_eq!(archive.names(), Vec::<String>::new());
}

#[test]
fn unsealed_hours_are_removed_only_for_min_free_disk() {
    let mut archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n");
    // A directory in place of the temporary file: the seal fails.
    fs::create_dir(archive.path(10, FileKind::SealingTemp)).unwrap();
    archive.job.limits.max_age = Some(std::time::Duration::ZERO);
    archive.job.limits.max_total_size = Some(0);
    let (summary, events) = archive.run();
    assert_eq!((summary.removed, summary.failures), (0, 1), "{events:?}");
    let unmet = events.iter().filter(|event| matches!(event, JobEvent::Unmet { .. })).count();
    assert_eq!(unmet, 2, "{events:?}");
    // Only the removal of this hour frees enough of the disk.
    archive.write(10, FileKind::Lines, vec![b'\n'; 64 << 20]);
    let free = super::disk_space::DiskSpace::query(archive.dir.path()).unwrap().available;
    archive.job.limits.min_free_disk = Some(free + (32 << 20));
    let (summary, events) = archive.run();
    assert_eq!(summary.removed, 1, "{events:?}");
    let loud = events.iter().any(|event| event.to_string().contains("THOUGH IT WAS NOT SEALED"));
    assert!(loud, "{events:?}");
    assert!(!archive.path(10, FileKind::Lines).exists());
}

#[test]
fn a_second_concurrent_job_is_refused() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n");
    let _other = DirLock::acquire(archive.dir.path(), DirLockKind::ArchiveJob).unwrap();
    let refused = archive.try_run().unwrap_err().to_string();
    assert!(refused.contains("another run (pid "), "{refused}");
}

#[test]
fn a_stopped_run_changes_nothing() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..100));
    let progress = Progress::default();
    progress.request_stop();
    let stopped = archive.job.run(&archive.clock, &progress, &mut |_| {});
    assert!(matches!(stopped, Err(JobError::Stopped(_))));
    assert_eq!(archive.names(), ["t_36000.jsonl"]);
    assert_eq!(archive.run().0.sealed, 1);
}

#[test]
fn the_journal_records_what_was_sealed() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n2\n");
    archive.run();
    let entries = journal::read(&archive.path(10, FileKind::Journal)).unwrap();
    let [sealing, sealed] = entries.as_slice() else { panic!("{entries:?}") };
    let journal::JournalEvent::Sealing(before) = &sealing.event else { panic!("{sealing:?}") };
    assert_eq!(sealed.event, journal::JournalEvent::Sealed(before.clone()));
    assert_eq!((before.messages, before.raw_bytes), (2, 4));
}

#[test]
fn sealing_works_in_parallel_and_with_long_distance_matching() {
    let mut archive = TestArchive::new();
    archive.job.threads = 3;
    archive.job.compression.long_distance = true;
    // The second half repeats the first, at a distance beyond the window of level 1.
    let mut half = String::new();
    let mut noise = fastrand::Rng::with_seed(1);
    for _ in 0..300_000 {
        writeln!(half, "\"{:016x}\"", noise.u64(..)).unwrap();
    }
    for hour in 1..=8 {
        archive.write(hour, FileKind::Lines, lines(0..hour * 100));
    }
    archive.write(9, FileKind::Lines, half.clone() + &half);
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (9, 0), "{events:?}");
    for hour in 1..=8 {
        assert_eq!(archive.decode_sealed(hour), lines(0..hour * 100));
    }
    assert!(archive.decode_sealed(9) == half.clone() + &half);
    let long = fs::metadata(archive.path(9, FileKind::Sealed)).unwrap().len();
    archive.job.compression.long_distance = false;
    archive.write(10, FileKind::Lines, half.clone() + &half);
    archive.run();
    let short = fs::metadata(archive.path(10, FileKind::Sealed)).unwrap().len();
    assert!(long < short * 2 / 3, "{long} against {short}");
}

#[test]
fn an_hour_whose_lines_vanish_during_verification_is_verified_again() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..10));
    let listed = Directory::read(archive.dir.path()).unwrap().hours.remove(0);
    assert!(listed.file(FileKind::Lines).is_some());
    archive.run();
    let verify = || {
        verify_hour(archive.dir.path(), &listed, UnixNanos::from_seconds(NOW), &Progress::default())
            .unwrap()
    };
    assert!(matches!(verify(), Some(HourVerdict::Intact { messages: 10, .. })));
    // Neither the listed lines nor the sealed file are there: the journal knows of both.
    fs::remove_file(archive.path(10, FileKind::Sealed)).unwrap();
    let verdict = verify();
    let Some(HourVerdict::Bad { reason }) = &verdict else { panic!("{verdict:?}") };
    assert_eq!(reason, "the file is gone; it held 10 messages");
}

#[test]
fn a_stopped_verification_is_an_error() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..10));
    let dir = archive.dir.path();
    let hours =
        || Directory::read(dir).unwrap().hours.into_iter().map(|hour| (dir, hour)).collect();
    let progress = Progress::default();
    let mut verdicts = 0;
    assert_eq!(
        verify_hours(hours(), 1, UnixNanos::from_seconds(NOW), &progress, |_, _, _| verdicts += 1),
        Ok(())
    );
    progress.request_stop();
    assert_eq!(
        verify_hours(hours(), 1, UnixNanos::from_seconds(NOW), &progress, |_, _, _| verdicts += 1),
        Err(Stopped)
    );
    assert_eq!(verdicts, 1);
}

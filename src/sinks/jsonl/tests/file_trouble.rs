//! Tests of files that cannot be written, while others can.

use super::*;

#[test]
fn a_file_that_cannot_be_written_stalls_no_other_and_the_next_hour_begins_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_by_topic(dir.path(), &["a", "b"]);
    let up = SourceEvent::Up { connection: ConnectionId::new(1), scope: SourceScope::default() };
    sink.on_event(UnixNanos::from_seconds(7_198), &up).unwrap();
    std::fs::create_dir(dir.path().join("b_7200.jsonl")).unwrap();
    for second in [7_199, 7_200, 10_799, 10_800] {
        sink.tick(UnixNanos::from_seconds(second).into()).unwrap();
        sink.write(&batch_of_topics(second, &["a", "b", "b"])).unwrap();
        sink.flush().unwrap();
    }
    assert_eq!((sink.buffered(), sink.discarded()), (0, 4));
    sink.close().unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    for (name, lines) in
        [("a_3600", 1), ("a_7200", 2), ("a_10800", 1), ("b_3600", 2), ("b_10800", 2)]
    {
        assert_eq!(read(&format!("{name}.jsonl")).lines().count(), lines, "{name}");
    }
    let events = event_names(dir.path(), "b", 7_200);
    assert_eq!(events, ["open", "stall", "drop", "resume", "closed"]);
    assert_eq!(gaps_of(dir.path(), "a"), Vec::<String>::new());
    let gaps = gaps_of(dir.path(), "b");
    let [dropped, stalled] = gaps.as_slice() else { panic!("{gaps:?}") };
    assert!(stalled.starts_with("stalled disk None cannot open `"), "{stalled}");
    assert!(dropped.starts_with("dropped unwritable Some(4) cannot open `"), "{dropped}");
    assert!(dropped.contains("b_7200.jsonl"), "{dropped}");
}

#[test]
fn lines_wait_for_their_file_in_order_and_are_written_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_by_topic(dir.path(), &["a", "b"]);
    let path = dir.path().join("b_3600.jsonl");
    std::fs::create_dir(&path).unwrap();
    for second in 3_600..3_605 {
        let mut batch = batch_of_topics(second, &["a", "b"]);
        batch.push(b"control");
        sink.write(&batch).unwrap();
        sink.flush().unwrap();
    }
    assert_eq!(sink.buffered(), 5);
    std::fs::remove_dir(&path).unwrap();
    sink.close().unwrap();
    assert_eq!((sink.buffered(), sink.discarded()), (0, 0));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"t\":\"b\"}\n".repeat(5));
    assert_eq!(event_names(dir.path(), "b", 3_600), ["open", "stall", "resume", "closed"]);
}

#[test]
fn a_file_that_another_program_locks_for_a_moment_leaves_no_gap_and_for_hours_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b_3600.jsonl");
    std::fs::write(&path, "{}\n").unwrap();
    let locked = std::fs::File::open(&path).unwrap();
    locked.lock().unwrap();
    let mut sink = sink_by_topic(dir.path(), &["a", "b"]);
    sink.tick(UnixNanos::from_seconds(3_600).into()).unwrap();
    sink.write(&batch_of_topics(3_601, &["a", "b"])).unwrap();
    sink.flush().unwrap();
    assert_eq!(sink.buffered(), 1);
    drop(locked);
    sink.tick(UnixNanos::from_seconds(7_200).into()).unwrap();
    sink.close().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{\"t\":\"b\"}\n");
    let events = event_names(dir.path(), "b", 3_600);
    assert_eq!(events, ["open", "recovered", "closed"]);
}

#[test]
fn whatever_stands_at_the_name_of_a_file_is_the_trouble_of_its_stem_alone() {
    type Make<'a> = &'a dyn Fn(&std::path::Path);
    let make: [(&str, Make<'_>); 6] = [
        ("directory", &|path| std::fs::create_dir(path).unwrap()),
        ("FIFO", &|path| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).unwrap();
        }),
        ("socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ("dangling link", &|path| std::os::unix::fs::symlink("nowhere", path).unwrap()),
        ("loop", &|path| std::os::unix::fs::symlink(path, path).unwrap()),
        ("device", &|path| std::os::unix::fs::symlink("/dev/null", path).unwrap()),
    ];
    for (what, make) in make {
        for kinds in
            [&["jsonl"], &["journal"], &["rejects"], &["torn"], &["jsonl", "journal"] as &[_]]
        {
            let dir = tempfile::tempdir().unwrap();
            if kinds == ["torn"] {
                std::fs::write(dir.path().join("b_3600.jsonl"), "{}\n{\"tor").unwrap();
            }
            for kind in kinds {
                make(&dir.path().join(format!("b_3600.{kind}")));
            }
            let mut sink = sink_by_topic(dir.path(), &["a", "b"]);
            sink.tick(UnixNanos::from_seconds(3_600).into()).unwrap();
            for second in 3_601..3_604 {
                sink.write(&batch_of_topics(second, &["a", "b"])).unwrap();
                sink.flush().unwrap();
                let rejected = RejectedMessage {
                    t: UnixNanos::from_seconds(second),
                    stage: "s".to_owned(),
                    error: "e".to_owned(),
                    topic: Some("b".to_owned()),
                    data: "{}".to_owned(),
                };
                sink.write_rejected(&[rejected]).unwrap();
                sink.tick(UnixNanos::from_seconds(second).into()).unwrap();
            }
            sink.tick(UnixNanos::from_seconds(7_200).into()).unwrap();
            sink.write(&batch_of_topics(7_201, &["a", "b"])).unwrap();
            sink.close().unwrap();
            let count = |name: &str| {
                let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
                text.lines().count()
            };
            let what = format!("{what} at {kinds:?}");
            assert_eq!((count("a_3600.jsonl"), count("a_7200.jsonl")), (3, 1), "{what}");
            assert_eq!(count("b_7200.jsonl"), 1, "{what}");
            if matches!(kinds, ["journal" | "rejects"]) {
                assert_eq!(count("b_3600.jsonl"), 3, "{what}");
            } else {
                let gaps = gaps_of(dir.path(), "b");
                let is_dropped = |gap: &String| gap.starts_with("dropped unwritable Some(3)");
                assert!(gaps.iter().any(is_dropped), "{what}: {gaps:?}");
            }
            if kinds == ["rejects"] {
                let gaps = gaps_of(dir.path(), "b");
                assert_eq!(gaps.len(), 1, "{what}: {gaps:?}");
                assert!(gaps[0].starts_with("dropped unwritable Some(3)"), "{what}: {gaps:?}");
            }
        }
    }
}

#[test]
fn an_hour_of_which_nothing_can_be_written_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["b_3600.jsonl", "b_3600.journal"].map(|name| dir.path().join(name));
    for name in &names {
        std::fs::create_dir(name).unwrap();
    }
    let mut sink = sink_by_topic(dir.path(), &["a", "b"]);
    sink.tick(UnixNanos::from_seconds(3_600).into()).unwrap();
    sink.write(&batch_of_topics(3_601, &["a", "b", "b"])).unwrap();
    sink.flush().unwrap();
    sink.tick(UnixNanos::from_seconds(3_602).into()).unwrap();
    // A recorder that stops within the hour can tell nobody; what stands at the name does.
    let times = |from: u64, to: u64| {
        let gaps = all_gaps_of(dir.path(), "b").into_iter();
        let (from, to) = (UnixNanos::from_seconds(from), UnixNanos::from_seconds(to));
        let found = gaps.filter(|gap| gap.from == from && gap.to == Some(to));
        found.map(|gap| format!("{} {:?}", gap.kind, gap.messages)).collect::<Vec<_>>()
    };
    assert_eq!(times(3_600, 7_200), ["unknown None"]);
    sink.tick(UnixNanos::from_seconds(7_200).into()).unwrap();
    sink.write(&batch_of_topics(7_201, &["a", "b"])).unwrap();
    sink.flush().unwrap();
    sink.tick(UnixNanos::from_seconds(7_202).into()).unwrap();
    // The next journal tells it also when nothing stands there any more.
    for name in &names {
        std::fs::remove_dir(name).unwrap();
    }
    assert_eq!(times(3_600, 7_200), ["unknown None"]);
    let gaps = gaps_of(dir.path(), "b");
    assert!(gaps.len() == 2 && gaps[1].starts_with("dropped unwritable Some(2)"), "{gaps:?}");
    assert_eq!(gaps_of(dir.path(), "a"), Vec::<String>::new());
    sink.close().unwrap();
}

#[test]
fn a_failed_write_of_one_topic_neither_loses_nor_duplicates_lines() {
    let mut failures = 0;
    for nth in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink_by_topic(dir.path(), &["a", "b", "c"]);
        let mut batch = batch_of_topics(3_600, &["c", "a", "b", "a", "c", "a"]);
        sink.write(&batch).unwrap();
        let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
        let (failed, injected) = with_fault(full, nth, || sink.flush().is_err());
        failures += usize::from(injected);
        assert_eq!(failed, sink.buffered() > 0, "failure at {nth}");
        batch.push(b"control");
        sink.write(&batch).unwrap();
        sink.flush().unwrap();
        assert_eq!(sink.buffered(), 0);
        sink.close().unwrap();
        for (topic, lines) in [("a", 6), ("b", 2), ("c", 4)] {
            let file = dir.path().join(format!("{topic}_3600.jsonl"));
            let line = format!("{{\"t\":\"{topic}\"}}\n");
            assert_eq!(std::fs::read_to_string(file).unwrap(), line.repeat(lines), "{nth}");
        }
    }
    assert!(failures >= 3, "too few failures: {failures}");
}

#[test]
fn an_event_that_comes_before_lines_that_wait_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_by_topic(dir.path(), &["a", "b"]);
    std::fs::create_dir(dir.path().join("b_3600.jsonl")).unwrap();
    let topics: std::sync::Arc<[String]> = ["a", "b"].map(str::to_owned).into();
    let up = |number| SourceEvent::Subscribed {
        connection: ConnectionId::new(number),
        topics: std::sync::Arc::clone(&topics),
    };
    sink.on_event(UnixNanos::from_seconds(3_600), &up(1)).unwrap();
    sink.write(&batch_of_topics(3_601, &["a", "b"])).unwrap();
    sink.on_event(UnixNanos::from_seconds(3_602), &up(2)).unwrap();
    std::fs::remove_dir(dir.path().join("b_3600.jsonl")).unwrap();
    sink.close().unwrap();
    assert_eq!(
        event_names(dir.path(), "b", 3_600),
        ["open", "up", "stall", "behind", "up", "resume", "closed"]
    );
}

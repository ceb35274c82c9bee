//! Tests of the files of several topics.

use super::*;

#[test]
fn a_batch_without_labels_is_written_to_the_control_file_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let topic = crate::base::json::Selector::parse("/t").ok();
    let context = BuildContext::new(vec!["a".to_owned()], Arc::new(PipelineStats::new()), 10)
        .with_topic_selector(topic);
    let config = JsonlConfig {
        output_dir: dir.path().to_owned(),
        partition: Some(Partition::Topic),
        ..JsonlConfig::default()
    };
    let mut sink = config.build(&context).unwrap();
    sink.open().unwrap();
    let mut batch = Batch::new();
    batch.push(b"{\"t\":\"a\"}");
    batch.set_received(UnixNanos::from_seconds(3_600));
    sink.write(&batch).unwrap();
    sink.close().unwrap();
    let lines = std::fs::read_to_string(dir.path().join("control_3600.jsonl")).unwrap();
    assert_eq!(lines, "{\"t\":\"a\"}\n");
    assert_eq!(context.plugin_stats.snapshot().errors, 1);
}

#[test]
fn topics_that_differ_in_case_have_files_of_their_own_where_names_are_folded() {
    let dir = tempfile::tempdir().unwrap();
    // This link makes the directory look like one that does not tell upper from lower case.
    std::os::unix::fs::symlink(".streamer.lock", dir.path().join(".STREAMER.LOCK")).unwrap();
    let mut sink = sink_by_topic(dir.path(), &["ab", "AB", "aB", "c"]);
    sink.write(&batch_of_topics(3_600, &["ab", "AB", "AB", "aB", "c"])).unwrap();
    sink.close().unwrap();
    for (stem, topic, lines) in
        [("ab", "ab", 1), ("%41%42", "AB", 2), ("%61%42", "aB", 1), ("c", "c", 1)]
    {
        let text = std::fs::read_to_string(dir.path().join(format!("{stem}_3600.jsonl"))).unwrap();
        assert_eq!(text, format!("{{\"t\":\"{topic}\"}}\n").repeat(lines));
        assert_eq!(event_names(dir.path(), stem, 3_600), ["open", "closed"], "{stem}");
    }
    let stems = crate::archive::directory::stems_with_hours(dir.path(), |_| true).unwrap();
    let topics: Vec<_> = stems.iter().filter_map(Stem::to_topic).collect();
    assert_eq!(topics, ["AB", "aB", "ab", "c"]);
}

#[test]
fn topics_that_nobody_asked_for_share_one_file_and_other_forms_of_listed_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_by_topic(dir.path(), &["BTCUSDT@trade", "b"]);
    let others: Vec<String> = (0..50).map(|number| format!("other{number}")).collect();
    let mut topics = vec!["btcusdt@trade", "b"];
    topics.extend(others.iter().map(String::as_str));
    sink.write(&batch_of_topics(3_600, &topics)).unwrap();
    sink.tick(UnixNanos::from_seconds(3_601).into()).unwrap();
    sink.close().unwrap();
    let stems = crate::archive::directory::stems_with_hours(dir.path(), |_| true).unwrap();
    let stems: Vec<_> = stems.iter().map(Stem::as_str).collect();
    assert_eq!(stems, ["BTCUSDT@trade", "b", "btcusdt@trade", "control", "unrequested"]);
    let text = std::fs::read_to_string(dir.path().join("unrequested_3600.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 50);
    for stem in ["control", "unrequested"] {
        let events = event_names(dir.path(), stem, 3_600);
        assert_eq!(events.iter().filter(|name| *name == "unrequested").count(), 1, "{events:?}");
    }
    // A pointer of the user finds all topics.
    let dir = tempfile::tempdir().unwrap();
    let context = BuildContext::new(vec!["b".to_owned()], Arc::new(PipelineStats::new()), 10);
    let config = JsonlConfig {
        output_dir: dir.path().to_owned(),
        partition: serde_json::from_value(json!("/t")).unwrap(),
        ..JsonlConfig::default()
    };
    let mut sink = config.build(&context).unwrap();
    sink.open().unwrap();
    sink.write(&batch_of_topics(3_600, &topics)).unwrap();
    sink.close().unwrap();
    let stems = crate::archive::directory::stems_with_hours(dir.path(), |_| true).unwrap();
    assert_eq!(stems.len(), 52, "and no lines without a topic");
}

#[test]
fn spellings_of_a_listed_topic_beyond_the_first_ones_share_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_by_topic(dir.path(), &["abcdef", "b"]);
    let topics = (0..64).map(|number| {
        let spell = |(at, char): (usize, char)| match number >> at & 1 {
            0 => char,
            _ => char.to_ascii_uppercase(),
        };
        "abcdef".chars().enumerate().map(spell).collect::<String>()
    });
    let topics: Vec<String> = topics.collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    sink.write(&batch_of_topics(3_600, &topics)).unwrap();
    sink.close().unwrap();
    let stems = crate::archive::directory::stems_with_hours(dir.path(), |_| true).unwrap();
    let stems: Vec<_> = stems.iter().map(Stem::as_str).collect();
    assert_eq!(stems, ["Abcdef", "aBcdef", "abcdef", "unrequested"]);
}

#[test]
fn all_topics_are_written_when_they_exceed_max_open_files() {
    let dir = tempfile::tempdir().unwrap();
    let topics: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let context = BuildContext::new(Vec::new(), Arc::new(PipelineStats::new()), 10);
    let config = JsonlConfig {
        output_dir: dir.path().to_owned(),
        partition: serde_json::from_value(json!("/t")).unwrap(),
        max_open_files: 16,
        ..JsonlConfig::default()
    };
    let mut sink = config.build(&context).unwrap();
    sink.open().unwrap();
    for round in 0..5 {
        sink.write(&batch_of_topics(3_600 + round, &topics)).unwrap();
        sink.flush().unwrap();
        sink.tick(UnixNanos::from_seconds(3_600 + round).into()).unwrap();
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        let open = open.filter(|file| file.starts_with(dir.path())).count();
        assert!(open <= 16 + 2, "{open} files are open");
    }
    sink.close().unwrap();
    for topic in topics {
        let file = dir.path().join(format!("{topic}_3600.jsonl"));
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 5);
    }
}

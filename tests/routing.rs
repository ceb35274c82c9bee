//! The routing of several topics and pipelines to their files.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{RunningExchange, Server, Test, WAIT_LIMIT, run, split_answers};

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("publicTrade.C{number}USDT")).collect()
}

/// Returns the lines that the files of each topic should hold.
fn expected_lines(topics: &[String], trades: u64) -> BTreeMap<String, Vec<u8>> {
    let mut lines: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let all = Market::from_topics(topics).lines(0..trades);
    for line in all.split_inclusive(|byte| *byte == b'\n') {
        let trade: Value = serde_json::from_slice(line).unwrap();
        let topic = trade["topic"].as_str().unwrap().to_owned();
        lines.entry(topic).or_default().extend_from_slice(line);
    }
    lines
}

/// Returns the recorded lines by the stems of their files.
fn recorded_lines(test: &Test) -> BTreeMap<String, Vec<u8>> {
    let mut lines: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for file in test.files() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (stem, _) = name.rsplit_once('_').unwrap();
        lines.entry(stem.to_owned()).or_default().extend(fs::read(&file).unwrap());
    }
    lines
}

fn record(topics: &[String], trades: u64, sink: Value) -> Test {
    let exchange = RunningExchange::start(ExchangeOptions {
        count: Some(trades),
        ..ExchangeOptions::default()
    });
    let mut sink = sink;
    let test = Test::with_source(&exchange.url, json!({ "topics": topics }));
    sink["type"] = json!("jsonl");
    sink["output_dir"] = json!(test.output());
    let test = test.without("output_dir").set("sinks", json!([sink]));
    let recorder = test.start();
    recorder.wait_until(|status| status["messages"].as_u64() > Some(trades));
    recorder.stop();
    exchange.stop();
    test
}

#[test]
fn every_topic_has_its_own_files_and_the_answers_have_theirs() {
    let topics = topics(100);
    let test = record(&topics, 50_000, json!({}));
    let mut recorded = recorded_lines(&test);
    let control = recorded.remove("control").unwrap();
    assert!(control.starts_with(b"{\"success\":true"));
    assert!(recorded == expected_lines(&topics, 50_000));
    // Each stem has its own gap.
    let gaps = test.query("gaps");
    for stem in topics.iter().map(String::as_str).chain(["control"]) {
        let stopped = |gap: &&Value| gap["stem"] == stem && gap["cause"] == "stopped";
        assert_eq!(gaps.iter().filter(stopped).count(), 1, "{stem}");
    }
    let hours = test.query("ls");
    let messages = hours.iter().filter_map(|hour| hour["messages"].as_u64()).sum::<u64>();
    assert_eq!(messages, 50_001);
}

#[test]
fn a_thousand_topics_need_no_more_files_than_they_may_have() {
    let topics = topics(1_000);
    let test = record(&topics, 20_000, json!({ "max_open_files": 64 }));
    let mut recorded = recorded_lines(&test);
    recorded.remove("control").unwrap();
    assert!(recorded == expected_lines(&topics, 20_000));
}

#[test]
fn a_pointer_into_the_line_names_its_file() {
    let topics = topics(3);
    let test = record(&topics, 3_000, json!({ "partition": "/data/0/S" }));
    let recorded = recorded_lines(&test);
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ["Buy", "Sell", "control"]);
    let all = expected_lines(&topics, 3_000).into_values().map(|lines| lines.len()).sum::<usize>();
    assert_eq!(recorded["Buy"].len() + recorded["Sell"].len(), all);
}

#[test]
fn with_a_stem_one_file_takes_all_topics() {
    let topics = topics(3);
    for sink in [json!({ "stem": "all" }), json!({ "stem": "all", "partition": "none" })] {
        let test = record(&topics, 300, sink);
        let recorded = recorded_lines(&test);
        assert_eq!(recorded.keys().collect::<Vec<_>>(), ["all"]);
    }
}

#[test]
fn quiet_pipelines_have_no_thread_and_record_what_comes_after_a_while() {
    const PIPELINES: usize = 8;
    let (go, wake) = std::sync::mpsc::channel::<()>();
    let wake = std::sync::Mutex::new(wake);
    let server = Server::start(move |number, peer| {
        peer.accept_subscription();
        peer.send_text(&format!("{{\"first\":{number}}}"));
        let _closed = wake.lock().unwrap().recv();
        peer.send_text(&format!("{{\"second\":{number}}}"));
        peer.answer_until_end();
    });
    let test = Test::new("").without("ws_url").without("topic").without("output_dir");
    let pipeline = |number: usize| {
        let source = json!({ "type": "websocket", "url": server.url(), "topics": ["t"] });
        let dir = test.path(&format!("p{number}"));
        json!({ "source": source, "sinks": [{ "type": "jsonl", "output_dir": dir }] })
    };
    let pipelines: serde_json::Map<_, _> =
        (0..PIPELINES).map(|number| (format!("p{number}"), pipeline(number))).collect();
    let test = test.set("pipelines", json!(pipelines));
    let recorder = test.start();
    recorder.wait_for_messages(PIPELINES as u64);
    let tasks = format!("/proc/{}/task", recorder.pid());
    let threads = || {
        let tasks = fs::read_dir(&tasks).unwrap();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
        // A thread may end meanwhile.
        let names = tasks.filter_map(|task| name(task.unwrap()).ok());
        names.filter(|name| name == "pipeline\n").count()
    };
    let deadline = std::time::Instant::now() + WAIT_LIMIT;
    while threads() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} threads are left", threads());
        std::thread::yield_now();
    }
    for _ in 0..PIPELINES {
        go.send(()).unwrap();
    }
    recorder.wait_for_messages(2 * PIPELINES as u64);
    recorder.stop();
    for number in 0..PIPELINES {
        let files = fs::read_dir(test.path(&format!("p{number}"))).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let lines: String = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        assert!(lines.contains("first") && lines.contains("second"), "{lines}");
    }
}

#[test]
fn pipelines_run_side_by_side_and_one_that_fails_stops_no_other() {
    let exchanges = [3_000, 2_000].map(|trades| {
        RunningExchange::start(ExchangeOptions {
            count: Some(trades),
            ..ExchangeOptions::default()
        })
    });
    let test = Test::new("").without("ws_url").without("topic").without("output_dir");
    let pipeline = |url: &str, name: &str| {
        json!({
            "source": { "type": "websocket", "url": url, "topics": ["publicTrade.X"] },
            "sinks": [{ "type": "jsonl", "output_dir": test.path(name) }],
        })
    };
    let pipelines = json!({
        "a": pipeline(&exchanges[0].url, "a"),
        "b": pipeline(&exchanges[1].url, "b"),
        "none": pipeline("ws://127.0.0.1:1", "none"),
    });
    let test = test.set("pipelines", pipelines).set("archive", json!({}));
    let recorder = test.start();
    recorder.wait_until(|status| {
        status["pipelines"]["a"]["messages"].as_u64() > Some(3_000)
            && status["pipelines"]["b"]["messages"].as_u64() > Some(2_000)
    });
    let status = recorder.status();
    assert_eq!(status["connected"], false, "one of them is not");
    assert_eq!(status["pipelines"]["a"]["connected"], true);
    recorder.stop();
    for (name, trades) in [("a", 3_000), ("b", 2_000)] {
        let file = fs::read_dir(test.path(name)).unwrap().map(|entry| entry.unwrap().path());
        let mut file = file;
        let file = file.find(|path| path.extension().is_some_and(|e| e == "jsonl"));
        let (found, _) = split_answers(&fs::read(file.unwrap()).unwrap());
        assert!(found == Market::new("publicTrade.X").lines(0..trades));
    }
    // The directories tell the two pipelines apart, though both have the same topic.
    let config = test.config();
    let ask = |words: &[&str]| {
        let output = run(&[words, &["-config", config.to_str().unwrap()]].concat());
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let [a, b] = ["a", "b"].map(|name| test.path(name).join("publicTrade.X"));
    for command in [&["ls"][..], &["gaps", "--each"], &["report"]] {
        let printed = ask(command);
        assert!([&a, &b].iter().all(|stem| printed.contains(stem.to_str().unwrap())), "{printed}");
    }
    let gaps = test.query("gaps");
    assert!(
        ["a", "b"].iter().all(|name| gaps.iter().any(|gap| gap["dir"] == json!(test.path(name))))
    );
    assert!(ask(&["cat", "publicTrade.X"]).contains("is in several directories"));
    assert_eq!(ask(&["cat", b.to_str().unwrap()]).lines().count(), 2_001);
    let log = fs::read_to_string(test.path("log")).unwrap();
    assert!(log.contains("pipeline{name=\"none\"}"), "{log}");
    for exchange in exchanges {
        exchange.stop();
    }
}

#[test]
fn lines_of_a_program_are_routed_by_a_pointer_and_leave_no_false_gaps() {
    let test = Test::new("ws://127.0.0.1:1");
    let feed = test.path("feed");
    fs::write(&feed, "{\"s\":\"A\"}\n").unwrap();
    let command = json!(["tail", "-n", "+1", "-F", feed]);
    let source = json!({ "type": "exec", "command": command });
    let sink = json!({ "type": "jsonl", "output_dir": test.output(), "partition": "/s" });
    let test = test.without("output_dir").without("ws_url").without("topic");
    let test = test.set("source", source).set("sinks", json!([sink]));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let mut lines = fs::OpenOptions::new().append(true).open(&feed).unwrap();
    std::io::Write::write_all(&mut lines, b"{\"s\":\"B\"}\n").unwrap();
    recorder.wait_for_messages(2);
    // The hours were opened at different times, and the recorder still writes to all of them.
    let gaps = test.query("gaps");
    assert!(gaps.iter().all(|gap| gap["kind"] != "not_running"), "{gaps:?}");
    recorder.stop();
    // The end of the program at the stop is no sign that it hung before.
    let down = |gap: &&Value| gap["kind"] == "down";
    assert_eq!(test.query("gaps").iter().filter(down).count(), 0);
}

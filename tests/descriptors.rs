//! A process that may have few files open.

use std::fs;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::harness::{Server, Test};

const TOPICS: usize = 200;
const ROUNDS: usize = 3;

fn topics() -> Vec<String> {
    (0..TOPICS).map(|number| format!("t{number}")).collect()
}

/// Starts a server that sends a message for each topic, several times.
fn start_server() -> Server {
    Server::start(|_, peer| {
        peer.accept_subscription();
        for round in 0..ROUNDS {
            for topic in topics() {
                peer.send_text(&format!("{{\"topic\":\"{topic}\",\"n\":{round}}}"));
            }
        }
        peer.answer_until_end();
    })
}

fn source(server: &Server) -> serde_json::Value {
    json!({ "type": "websocket", "url": server.url(), "topics": topics(), "topic_pointer": "/topic",
        "subscribe": { "op": "subscribe", "args": "{topics}" } })
}

/// Runs the recorder with this limit of open files, soft and hard.
fn with_limit(test: Test, soft: &str, hard: &str) -> Test {
    let script = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
    test.wrapped(&["sh", "-c", &script])
}

fn assert_recorded(test: &Test, dir: &std::path::Path) {
    for topic in topics() {
        let lines: String = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                name.starts_with(&format!("{topic}_")) && name.ends_with(".jsonl")
            })
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let expected: String =
            (0..ROUNDS).map(|round| format!("{{\"topic\":\"{topic}\",\"n\":{round}}}\n")).collect();
        assert_eq!(lines, expected, "{}", test.log());
    }
}

#[test]
fn more_topics_than_descriptors_lose_nothing_and_leave_the_status_and_the_stop() {
    let server = start_server();
    for (soft, hard) in [("256", "256"), ("64", "64"), ("40", "40"), ("64", "4096")] {
        let test = Test::new(&server.url()).without("topic").without("ws_url");
        let test = with_limit(test.set("source", source(&server)), soft, hard);
        let test = test.set("archive", json!({}));
        let recorder = test.start();
        recorder.wait_for_messages((TOPICS * ROUNDS) as u64);
        recorder.stop();
        assert_recorded(&test, &test.output());
        let warned = test.log().contains("the process may open fewer files than there are topics");
        assert_eq!(warned, hard != "4096", "the soft limit is raised: {}", test.log());
        let gaps = test.query("gaps");
        assert!(gaps.iter().all(|gap| gap["kind"] == "not_running"), "{gaps:?}");
    }
}

#[test]
fn pipelines_share_the_descriptors_of_the_process() {
    let server = start_server();
    let test = Test::new(&server.url());
    let dirs = [test.path("a"), test.path("b"), test.path("c")];
    let pipeline = |dir: &std::path::Path| json!({ "source": source(&server), "sinks": [{ "type": "jsonl", "output_dir": dir }] });
    let pipelines = json!({ "a": pipeline(&dirs[0]), "b": pipeline(&dirs[1]),
        "c": pipeline(&dirs[2]) });
    let test = test.without("topic").without("ws_url").without("output_dir");
    let test = with_limit(test.set("pipelines", pipelines), "64", "64");
    let recorder = test.start();
    recorder.wait_for_messages(3 * (TOPICS * ROUNDS) as u64);
    recorder.stop();
    for dir in &dirs {
        assert_recorded(&test, dir);
    }
}

#[test]
fn single_files_of_more_pipelines_than_descriptors_are_recorded() {
    const PIPELINES: usize = 24;
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    // Connections and locks take 48 of these, the process about 15, and their files would take as many again.
    for limit in ["100", "70"] {
        let test = Test::new(&server.url());
        let pipeline = |number: usize| {
            let source = json!({ "type": "websocket", "url": server.url(), "topics": ["t"] });
            let dir = test.path(&number.to_string());
            json!({ "source": source, "sinks": [{ "type": "jsonl", "output_dir": dir }] })
        };
        let pipelines: serde_json::Map<_, _> =
            (0..PIPELINES).map(|number| (format!("p{number}"), pipeline(number))).collect();
        let test = test.without("topic").without("ws_url").without("output_dir");
        let test = with_limit(test.set("pipelines", pipelines.into()), limit, limit);
        let recorder = test.start();
        recorder.wait_for_messages(PIPELINES as u64);
        recorder.stop();
        let gaps = test.query("gaps");
        assert!(gaps.iter().all(|gap| gap["cause"] != "sync_failed"), "{gaps:?}");
    }
}

#[test]
fn a_process_without_a_free_descriptor_answers_status_queries() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let test = with_limit(Test::new(&server.url()), "1024", "1024");
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let pid = rustix::process::Pid::from_raw(recorder.pid().try_into().unwrap());
    let set_limit = |limit: u64| {
        let limit = Rlimit { current: Some(limit), maximum: Some(1024) };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    };
    // Every number below the limit is in use.
    let dir = format!("/proc/{}/fd", recorder.pid());
    let is_open = |number: &u64| fs::symlink_metadata(format!("{dir}/{number}")).is_ok();
    set_limit((0..).find(|number| !is_open(number)).unwrap());
    for _ in 0..3 {
        assert_eq!(recorder.status()["messages"], 1);
    }
    set_limit(1024);
    recorder.stop();
    assert_eq!(test.recorded(), b"{}\n");
}

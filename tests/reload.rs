//! The configuration is reloaded while the recorder runs.

use std::fs;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Peer, Server, Test, binary, frame};
use crate::venues::{read_json, send_json, test_with_profile};

/// Runs `streamer reload --json` with the configuration of the test, which is written anew.
fn reload(test: &Test) -> (i32, Value) {
    let Output { status, stdout, stderr } = reload_output(test, &["--json"]);
    let report = serde_json::from_slice(&stdout);
    let report = report.unwrap_or_else(|_| json!(String::from_utf8(stderr).unwrap()));
    (status.code().unwrap(), report)
}

fn reload_output(test: &Test, args: &[&str]) -> Output {
    binary().arg("reload").args(args).arg("-config").arg(test.config()).output().unwrap()
}

/// Replaces the topics of the source.
fn with_topics(test: Test, topics: &[String]) -> Test {
    let mut source = test.source();
    source["topics"] = json!(topics);
    test.set("source", source)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("tick.{number}")).collect()
}

fn strs(topics: &[String]) -> Vec<&str> {
    topics.iter().map(String::as_str).collect()
}

/// Confirms every subscription of a connection, and sends a note of each request.
fn confirm_all(peer: &mut Peer) {
    while let Some((opcode, payload)) = peer.read_frame() {
        match opcode {
            1 => {
                let request: Value = serde_json::from_slice(&payload).unwrap();
                if request["op"] == "ping" {
                    continue;
                }
                peer.send_note(format!("{} {}", request["op"].as_str().unwrap(), request["args"]));
                let id = &request["req_id"];
                send_json(
                    peer,
                    &json!({"success": true, "ret_msg": "", "op": request["op"], "req_id": id}),
                );
            }
            8 => peer.send_frame(0x88, &payload),
            9 => peer.send_frame(0x8A, &payload),
            _ => {}
        }
    }
}

/// Sends ticks of all topics without a pause until told to stop, and answers requests. Returns the
/// number of ticks of each topic.
fn send_ticks(peer: &mut Peer, stop: &AtomicBool) -> std::collections::BTreeMap<String, u64> {
    let mut sent = std::collections::BTreeMap::new();
    let mut topics: Vec<String> = Vec::new();
    let mut requests = peer_requests(peer);
    while !stop.load(Ordering::Relaxed) {
        for request in requests() {
            let args = request["args"].as_array().cloned().unwrap_or_default();
            let args: Vec<String> =
                args.iter().map(|topic| topic.as_str().unwrap().to_owned()).collect();
            match request["op"].as_str() {
                Some("subscribe") => topics.extend(args),
                Some("unsubscribe") => topics.retain(|topic| !args.contains(topic)),
                _ => continue,
            }
            let op = &request["op"];
            let answer =
                json!({"success": true, "ret_msg": "", "op": op, "req_id": request["req_id"]});
            send_json(peer, &answer);
        }
        let mut burst = Vec::new();
        for topic in &topics {
            let number: &mut u64 = sent.entry(topic.clone()).or_default();
            let tick = format!(r#"{{"topic":"{topic}","n":{number}}}"#);
            *number += 1;
            burst.extend(frame(0x81, tick.as_bytes()));
        }
        peer.send(&burst);
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// Returns a function that returns the requests which came since its last call.
fn peer_requests(peer: &Peer) -> impl FnMut() -> Vec<Value> + use<> {
    let (send, received) = std::sync::mpsc::channel();
    let mut reader = peer.reader();
    std::thread::spawn(move || {
        while let Some((opcode, payload)) = reader.read_frame() {
            if opcode == 1 && send.send(serde_json::from_slice(&payload).unwrap()).is_err() {
                break;
            }
        }
    });
    move || received.try_iter().collect()
}

#[test]
fn a_reload_that_adds_one_topic_to_200_loses_no_message_of_the_200() {
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let server = Server::start({
        let stop = Arc::clone(&stop);
        let sent = Arc::clone(&sent);
        move |_, peer| {
            peer.accept();
            let ticks = send_ticks(peer, &stop);
            sent.lock().unwrap().push(ticks);
            peer.send_note("sent");
            peer.end_stream();
        }
    });
    let topics = names(200);
    let keys = json!({ "request_interval": "1ms", "topics_per_request": 0 });
    let test = test_with_profile("bybit", &strs(&topics), &server.url(), keys);
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 200);
    recorder.wait_for_messages(20_000);
    let before = recorder.status();

    let test = with_topics(test, &names(201));
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{report:#}");
    let change = &report["pipelines"]["main"];
    assert_eq!(change["topics_added"], json!(["tick.200"]));
    assert_eq!((&change["topics_removed"], &change["reconnects_for"]), (&json!([]), &json!([])));
    recorder.wait_until(|status| status["topics"]["confirmed"] == 201);
    let status = recorder.wait_until(|status| {
        status["messages"].as_u64() > before["messages"].as_u64().map(|count| count + 20_000)
    });
    assert_eq!(status["connects"], 1, "the connection stays: {status:#}");
    assert_eq!(status["config"]["sha256"], report["config"]);
    assert_ne!(status["config"]["sha256"], before["config"]["sha256"]);
    stop.store(true, Ordering::Relaxed);
    assert_eq!(server.next_note(), "sent");
    let sent = sent.lock().unwrap().first().unwrap().clone();
    let total: u64 = sent.values().sum();
    let answers = 2;
    recorder.wait_for_messages(total + answers);
    recorder.stop();

    assert_eq!(sent.len(), 201);
    let recorded = String::from_utf8(test.recorded()).unwrap();
    let mut next = std::collections::BTreeMap::new();
    for line in recorded.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(topic) = line["topic"].as_str() {
            let expected: &mut u64 = next.entry(topic.to_owned()).or_default();
            assert_eq!(line["n"].as_u64(), Some(*expected), "{topic}");
            *expected += 1;
        }
    }
    assert_eq!(next, sent, "every tick is recorded, in order, once");
    // Nothing is a gap until the server ended the connection, but for the topic that was added.
    let gaps = test.query("gaps");
    let early: Vec<_> = gaps
        .iter()
        .filter(|gap| gap["cause"] != "eof" && gap["cause"] != "stopped" && gap["kind"] == "down")
        .map(|gap| (gap["stem"].as_str().unwrap(), gap["cause"].as_str().unwrap()))
        .collect();
    assert_eq!(early, [("tick.200", "added")]);
    let changed: Vec<_> = test
        .journal_of("tick.0")
        .into_iter()
        .filter(|entry| entry["event"] == "config_changed")
        .collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0]["old"], before["config"]["sha256"]);
    assert_eq!(changed[0]["new"], report["config"]);
}

#[test]
fn a_removed_topic_is_unsubscribed_and_is_no_gap_and_may_come_back() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let test = test_with_profile("bybit", &["a", "b"], &server.url(), json!({}));
    let recorder = test.start();
    assert_eq!(server.next_note(), r#"subscribe ["a","b"]"#);
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);

    let test = with_topics(test, &["a".to_owned(), "c".to_owned()]);
    let text = String::from_utf8(reload_output(&test, &[]).stdout).unwrap();
    assert_eq!(text, "reloaded\npipeline main: added 1 topic (c); removed 1 topic (b)\n");
    assert_eq!(server.next_note(), r#"unsubscribe ["b"]"#);
    assert_eq!(server.next_note(), r#"subscribe ["c"]"#);
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (0, &json!("unchanged")));
    assert_eq!(recorder.status()["connects"], 1);

    let events = |stem: &str| -> Vec<String> {
        let entries = test.journal_of(stem);
        entries.iter().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(events("b"), ["open", "up", "config_changed"]);
    assert_eq!(events("c")[..3], ["open", "config_changed", "down"]);
    assert_eq!(test.journal_of("b")[2]["removed"], json!(["b"]));
    assert_eq!(test.journal_of("a")[2].get("removed"), None);
    let of_b = |gap: &Value| gap["stem"] == "b";
    assert!(!test.query("gaps").iter().any(of_b));

    let test = with_topics(test, &["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    reload(&test);
    assert_eq!(server.next_note(), r#"subscribe ["b"]"#);
    recorder.wait_until(|status| status["topics"]["confirmed"] == 3);
    recorder.stop();
    let gaps: Vec<Value> = test.query("gaps").into_iter().filter(of_b).collect();
    let causes: Vec<_> = gaps.iter().map(|gap| gap["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["added", "stopped"], "{gaps:#?}");
    assert_eq!(gaps[0]["certainty"], "exact");
}

#[test]
fn a_connection_that_is_made_after_a_reload_has_the_topics_of_the_reload() {
    let (go, gone_on) = std::sync::mpsc::channel::<()>();
    let gone_on = Mutex::new(gone_on);
    let server = Server::start(move |number, peer| {
        peer.accept();
        if number == 0 {
            let request = read_json(peer);
            send_json(
                peer,
                &json!({"success": true, "op": "subscribe", "req_id": request["req_id"]}),
            );
            gone_on.lock().unwrap().recv().unwrap();
            return peer.end_stream();
        }
        confirm_all(peer);
    });
    let test = test_with_profile("bybit", &["a", "b"], &server.url(), json!({}));
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let test = with_topics(test, &["b".to_owned(), "c".to_owned(), "d".to_owned()]);
    assert_eq!(reload(&test).0, 0);
    recorder.wait_until(|status| status["topics"]["wanted"] == 3);
    go.send(()).unwrap();
    assert_eq!(server.next_note(), r#"subscribe ["b","c","d"]"#);
    recorder.wait_until(|status| status["topics"]["confirmed"] == 3);
    recorder.stop();
    let open: Vec<_> = test.query("gaps").into_iter().filter(|gap| gap["stem"] == "a").collect();
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn topics_go_to_connections_with_room_and_an_empty_connection_ends() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let keys = json!({ "topics_per_connection": 2, "connect_interval": "1ms", "connections": 2 });
    let test = test_with_profile("bybit", &["a", "b", "c"], &server.url(), keys);
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 3 && status["connections"] == 4);
    for _ in 0..4 {
        server.next_note();
    }
    let topics: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let test = with_topics(test, &topics);
    let (code, report) = reload(&test);
    assert_eq!(code, 0, "{report:#}");
    let mut notes: Vec<_> = (0..4).map(|_| server.next_note()).collect();
    notes.sort();
    assert_eq!(
        notes,
        [r#"subscribe ["d"]"#, r#"subscribe ["d"]"#, r#"subscribe ["e"]"#, r#"subscribe ["e"]"#]
    );
    let status = recorder
        .wait_until(|status| status["topics"]["confirmed"] == 5 && status["connections"] == 6);
    assert_eq!(status["connections_wanted"], 6);
    let test = with_topics(test, &["c".to_owned(), "e".to_owned()]);
    assert_eq!(reload(&test).0, 0);
    let status = recorder.wait_until(|status| status["connections"] == 4);
    assert_eq!(status["connections_wanted"], 4);
    assert_eq!((&status["connected"], &status["topics"]["wanted"]), (&json!(true), &json!(2)));
    recorder.stop();
    let causes: Vec<_> = test.query("gaps").into_iter().map(|gap| gap["cause"].clone()).collect();
    assert!(causes.iter().all(|cause| cause == "added" || cause == "stopped"), "{causes:?}");
}

#[test]
fn a_broken_file_changes_nothing_and_is_answered_with_its_position() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let test = test_with_profile("bybit", &["a", "b"], &server.url(), json!({}));
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let before = recorder.status()["config"].clone();
    assert_eq!(before["file_differs"], json!(false));
    let text = fs::read_to_string(test.path("config.json")).unwrap();
    let broken = text.replace("\"b\"", "\"b\", \"a\"");
    let path = test.path("config.json");
    fs::write(&path, &broken).unwrap();
    let run = || binary().args(["reload", "-config"]).arg(&path).output().unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(2));
    let answer = String::from_utf8(output.stdout).unwrap();
    let place = format!("{}:", path.display());
    assert!(answer.starts_with("nothing was changed: the file cannot be used\n"), "{answer}");
    assert!(answer.contains(&place) && answer.contains("occurs in the list before"), "{answer}");
    recorder.wait_for(&["ERROR", "the configuration is not reloaded", "occurs in the list before"]);
    let status = recorder.status();
    assert_eq!(status["config"]["sha256"], before["sha256"]);
    assert_eq!(status["config"]["file_differs"], json!(true));
    assert!(status["config"]["last_reload_error"].is_string());
    assert_eq!(status["topics"]["confirmed"], 2);
    // A signal does the same.
    recorder.signal("HUP");
    recorder.wait_for(&["reopened the log file"]);
    recorder.wait_for(&["ERROR", "the configuration is not reloaded"]);
    fs::write(&path, &text).unwrap();
    recorder.signal("HUP");
    recorder.wait_for(&["the configuration is unchanged"]);
    recorder.stop();
}

#[test]
fn what_takes_a_restart_is_named_and_the_rest_is_done() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let test = test_with_profile("bybit", &["a", "b"], &server.url(), json!({}));
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let test = with_topics(test, &["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    let test = test.set("buffer_size", json!(20_000));
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (1, &json!("partial")));
    assert_eq!(report["needs_restart"], json!(["`buffer_size`"]));
    assert_eq!(report["pipelines"]["main"]["topics_added"], json!(["c"]));
    recorder.wait_until(|status| status["topics"]["confirmed"] == 3);
    let config = recorder.status()["config"].clone();
    assert_eq!(config["file_differs"], json!(true));
    assert_eq!(config["needs_restart"], json!(["`buffer_size`"]));
    recorder.stop();
}

#[test]
fn a_source_with_another_url_is_connected_before_the_old_one_is_closed() {
    let start = |name: &'static str| {
        Server::start(move |_, peer| {
            peer.accept();
            let request = read_json(peer);
            send_json(
                peer,
                &json!({"success": true, "op": "subscribe", "req_id": request["req_id"]}),
            );
            send_json(peer, &json!({"topic": "a", "from": name}));
            peer.answer_until_end();
        })
    };
    let first = start("first");
    let second = start("second");
    let test = test_with_profile("bybit", &["a", "b"], &first.url(), json!({}));
    let recorder = test.start();
    recorder.wait_for_messages(2);
    let mut source = test.source();
    source["url"] = json!(second.url());
    let test = test.set("source", source);
    let (code, report) = reload(&test);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["pipelines"]["main"]["reconnects_for"], json!(["url"]));
    let status = recorder.wait_until(|status| status["replaced"] == 1);
    assert_eq!((&status["connects"], &status["connections"]), (&json!(2), &json!(1)));
    recorder.stop();
    let recorded = String::from_utf8(test.recorded()).unwrap();
    assert!(recorded.contains("first") && recorded.contains("second"));
    let gaps = test.query("gaps");
    assert!(gaps.iter().all(|gap| gap["cause"] == "stopped"), "{gaps:#?}");
}

#[test]
fn a_file_that_changes_all_the_time_is_reloaded_once_at_a_time() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let test = test_with_profile("bybit", &["a", "b"], &server.url(), json!({}));
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let mut test = test;
    for round in 0..20 {
        let topics = ["a".to_owned(), format!("t{round}")];
        test = with_topics(test, &topics);
        test.config();
        recorder.signal("HUP");
    }
    assert_eq!(reload(&test).0, 0);
    recorder
        .wait_until(|status| status["topics"]["confirmed"] == 2 && status["topics"]["wanted"] == 2);
    assert_eq!(recorder.status()["connects"], 1);
    // A reload during a stop changes nothing, and does not hold it up.
    test = with_topics(test, &["z".to_owned()]);
    test.config();
    recorder.signal("HUP");
    recorder.stop();
    assert!(test.query("gaps").iter().all(|gap| gap["kind"] != "unknown"));
}

#[test]
fn a_file_of_several_topics_tells_of_each_that_comes_and_goes() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let source = json!({ "profile": "bybit", "topics": ["a"] });
    let test = Test::with_source(&server.url(), source);
    let sink = json!([{ "type": "jsonl", "output_dir": test.output(), "stem": "all" }]);
    let test = test.without("output_dir").set("sinks", sink);
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 1);
    let test = with_topics(test, &["a".to_owned(), "b".to_owned()]);
    assert_eq!(reload(&test).0, 0);
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let test = with_topics(test, &["b".to_owned()]);
    assert_eq!(reload(&test).0, 0);
    recorder.wait_until(|status| status["topics"]["wanted"] == 1);
    recorder.stop();
    let events: Vec<_> = test
        .journal_of("all")
        .iter()
        .filter(|entry| entry["event"] != "mark")
        .map(|entry| {
            let topics = ["topic", "added", "removed"].map(|key| entry.get(key).cloned());
            let topics: Vec<_> = topics.into_iter().flatten().collect();
            format!("{} {}", entry["event"].as_str().unwrap(), json!(topics))
        })
        .collect();
    let expected = [
        "open []",
        "up []",
        r#"config_changed [["b"]]"#,
        r#"topic_down ["b"]"#,
        r#"topic_up ["b"]"#,
        r#"config_changed [["a"]]"#,
        "stopping []",
        "closed []",
    ];
    assert_eq!(events, expected);
    assert_eq!(test.gaps(), ["down added exact"]);
}

/// Sends numbered ticks of a topic without a pause, from the subscription until told to stop, and
/// answers requests. The note says how many.
fn start_ticker(stop: &Arc<AtomicBool>) -> Server {
    let stop = Arc::clone(stop);
    Server::start(move |_, peer| {
        peer.accept();
        let ticks = send_ticks(peer, &stop);
        peer.send_note(ticks["a"].to_string());
        peer.answer_until_end();
    })
}

/// Returns the numbers of the ticks of the topic `a` in the files of a directory, in order.
fn ticks_in(dir: &std::path::Path) -> Vec<u64> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["topic"] == "a").map(|line| line["n"].as_u64().unwrap()).collect()
}

#[test]
fn a_second_topic_makes_files_by_topic_and_no_message_is_lost() {
    let stop = Arc::new(AtomicBool::new(false));
    let server = start_ticker(&stop);
    let test = Test::with_source(&server.url(), json!({ "profile": "bybit", "topics": ["a"] }));
    let recorder = test.start();
    recorder.wait_for_messages(200);
    let test = with_topics(test, &["a".to_owned(), "b".to_owned()]);
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{report:#}");
    assert_eq!(report["pipelines"]["main"]["sinks_replaced"], json!(["sinks[0]"]));
    let status = recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let messages = status["messages"].as_u64().unwrap();
    recorder.wait_for_messages(messages + 200);
    // The new sink knows that the topic arrives.
    let open: Vec<_> = test.query("gaps").into_iter().filter(|gap| gap["to"].is_null()).collect();
    assert!(open.is_empty(), "{open:#?}");
    stop.store(true, Ordering::Relaxed);
    let count: u64 = server.next_note().parse().unwrap();
    recorder.wait_until(|status| status["queue"]["messages"] == 0);
    assert_eq!(recorder.status()["connects"], 1);
    recorder.stop();
    assert_eq!(ticks_in(&test.output()), (0..count).collect::<Vec<_>>());
    let stems: std::collections::BTreeSet<_> = test
        .files()
        .iter()
        .map(|file| {
            file.file_name().unwrap().to_str().unwrap().split('_').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(stems, ["a", "b", "control"].map(str::to_owned).into());
    // What was received during the change waited in the buffer. The server leaves the close
    // unanswered.
    let gaps = test.query("gaps");
    let early: Vec<_> = gaps
        .iter()
        .filter(|gap| !gap["to"].is_null() && gap["cause"] != "idle")
        .map(|gap| (gap["stem"].as_str().unwrap(), gap["cause"].as_str().unwrap()))
        .collect();
    assert_eq!(early, [("b", "added")], "{gaps:#?}");
}

#[test]
fn a_sink_is_replaced_between_two_messages() {
    let stop = Arc::new(AtomicBool::new(false));
    let server = start_ticker(&stop);
    let test = Test::with_source(&server.url(), json!({ "profile": "bybit", "topics": ["a"] }));
    let before = test.path("before");
    let after = test.path("after");
    let program_log = test.path("program");
    let files = |dir: &std::path::Path| json!({ "type": "jsonl", "output_dir": dir });
    let test = test.without("output_dir").set("sinks", json!([files(&before)]));
    let recorder = test.start();
    recorder.wait_for_messages(200);
    let command = ["sh", "-c", &format!("cat > {}", program_log.display())].map(str::to_owned);
    let program = json!({ "type": "exec", "command": command, "required": false });
    let test = test.set("sinks", json!([files(&after), program]));
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{report:#}");
    assert_eq!(report["pipelines"]["main"]["sinks_replaced"], json!(["sinks[0]", "sinks[1]"]));
    let messages = recorder.status()["messages"].as_u64().unwrap();
    recorder.wait_for_messages(messages + 200);
    let status = recorder.status();
    let plugins = status["pipelines"]["main"]["plugins"].as_array().unwrap();
    let names: Vec<_> = plugins.iter().map(|plugin| plugin["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["stages[0] (verbatim)", "sinks[0] (jsonl)", "sinks[1] (exec)"]);
    // A sink that cannot be opened changes nothing.
    let test = test.set("sinks", json!([files(&program_log)]));
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (1, &json!("partial")), "{report:#}");
    let what = report["needs_restart"][0].as_str().unwrap();
    assert!(what.starts_with("pipeline main: sinks[0] (jsonl) cannot be opened: "), "{what}");
    stop.store(true, Ordering::Relaxed);
    let count: u64 = server.next_note().parse().unwrap();
    recorder.wait_until(|status| status["queue"]["messages"] == 0);
    recorder.stop();
    let mut ticks = ticks_in(&before);
    assert!(ticks.len() >= 100);
    ticks.extend(ticks_in(&after));
    assert_eq!(ticks, (0..count).collect::<Vec<_>>());
    let given = fs::read_to_string(&program_log).unwrap();
    assert!(given.lines().count() >= 200, "{}", given.lines().count());
}

/// Returns a pipeline of these topics into a directory of its own.
fn pipeline(test: &Test, url: &str, name: &str, topics: &[&str]) -> Value {
    json!({
        "source": { "type": "websocket", "url": url, "profile": "bybit", "topics": topics },
        "sinks": [{ "type": "jsonl", "output_dir": test.path(name), "stem": name }],
    })
}

#[test]
fn new_pipelines_start_and_removed_ones_stop_in_order() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let url = server.url();
    let test = Test::new("").without("topic").without("ws_url").without("output_dir");
    let first = pipeline(&test, &url, "first", &["a"]);
    let second = pipeline(&test, &url, "second", &["b"]);
    let third = pipeline(&test, &url, "third", &["c"]);
    let archive = json!({ "schedule": "* * * * * *" });
    let test = test.set("archive", archive);
    let test = test.set("pipelines", json!({ "first": first, "second": second }));
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let test = test.set("pipelines", json!({ "first": first, "third": third }));
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{report:#}");
    assert_eq!(report["pipelines"]["second"]["lifecycle"], "stopped");
    assert_eq!(report["pipelines"]["third"]["lifecycle"], "started");
    let status = recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    let names: Vec<_> = status["pipelines"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["first", "third"]);
    assert_eq!(status["pipelines"]["first"]["connects"], 1);
    assert_eq!(status["config"]["sha256"], report["config"]);
    let dir = test.dir.path().to_owned();
    let last_event = |name: &str| {
        let entries = fs::read_dir(dir.join(name)).unwrap().map(|entry| entry.unwrap().path());
        let is_journal =
            |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "journal");
        let text = fs::read_to_string(entries.into_iter().find(is_journal).unwrap()).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last["event"].as_str().unwrap().to_owned()
    };
    assert_eq!(last_event("second"), "closed");
    // The only pipelines make room for another in the directory of one of them.
    let fourth = pipeline(&test, &url, "first", &["d"]);
    let test = test.set("pipelines", json!({ "fourth": fourth }));
    let (code, report) = reload(&test);
    assert_eq!(code, 0, "{report:#}");
    recorder.wait_until(|status| {
        status["topics"]["confirmed"] == 1 && status["pipelines"]["fourth"]["connected"] == true
    });
    // The directory of the pipeline that runs is archived.
    recorder.wait_until(|status| status["archive"]["failures"] == 0);
    recorder.stop();
    assert_eq!(last_event("third"), "closed");
}

#[test]
fn a_pipeline_that_cannot_start_is_named() {
    let server = Server::start(|_, peer| {
        peer.accept();
        confirm_all(peer);
    });
    let url = server.url();
    let test = Test::new("").without("topic").without("ws_url").without("output_dir");
    let first = pipeline(&test, &url, "first", &["a"]);
    let second = pipeline(&test, &url, "second", &["b"]);
    fs::write(test.path("second"), "a file, and no directory").unwrap();
    let test = test.set("pipelines", json!({ "first": first }));
    let recorder = test.start();
    recorder.wait_until(|status| status["topics"]["confirmed"] == 1);
    let test = test.set("pipelines", json!({ "first": first, "second": second }));
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (1, &json!("partial")), "{report:#}");
    let what = report["needs_restart"][0].as_str().unwrap();
    assert!(what.starts_with("pipeline second: it cannot be started: "), "{what}");
    fs::remove_file(test.path("second")).unwrap();
    assert_eq!(reload(&test).0, 0);
    recorder.wait_until(|status| status["topics"]["confirmed"] == 2);
    recorder.stop();
}

#[test]
fn stages_are_replaced_between_two_messages() {
    let (go, gone_on) = std::sync::mpsc::channel::<u64>();
    let gone_on = Mutex::new(gone_on);
    let server = Server::start(move |_, peer| {
        let subscription: Value = serde_json::from_str(&peer.accept_subscription()).unwrap();
        let id = &subscription["req_id"];
        send_json(peer, &json!({"success": true, "op": "subscribe", "req_id": id}));
        let gone_on = gone_on.lock().unwrap();
        while let Ok(number) = gone_on.recv() {
            send_json(peer, &json!({"topic": "a", "n": number}));
        }
        peer.answer_until_end();
    });
    let test = Test::with_source(&server.url(), json!({ "profile": "bybit", "topics": ["a"] }));
    let jq = |program: &str| json!([{ "type": "jq", "program": program }]);
    let test = test.set("stages", jq("."));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    go.send(1).unwrap();
    recorder.wait_for_messages(2);
    let test = test.set("stages", jq(". + {second: true}"));
    let (code, report) = reload(&test);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["pipelines"]["main"]["stages_replaced"], true);
    go.send(2).unwrap();
    let status = recorder.wait_until(|status| status["messages"] == 3);
    let plugins = status["pipelines"]["main"]["plugins"].as_array().unwrap();
    assert_eq!(plugins[0]["taken"], 1);
    assert_eq!(plugins[1]["taken"], 3);
    drop(go);
    recorder.stop();
    let recorded = String::from_utf8(test.recorded()).unwrap();
    let lines: Vec<&str> = recorded.lines().skip(1).collect();
    assert_eq!(lines, [r#"{"topic":"a","n":1}"#, r#"{"topic":"a","n":2,"second":true}"#]);
}

#[test]
fn a_reload_during_a_stall_is_answered_at_once_and_done_when_it_is_over() {
    let server = Server::start(|_, peer| {
        let request: Value = serde_json::from_str(&peer.accept_subscription()).unwrap();
        send_json(peer, &json!({"success": true, "op": "subscribe", "req_id": request["req_id"]}));
        for number in 0..2_000 {
            let padding = "x".repeat(100);
            send_json(peer, &json!({"topic": "a", "n": number, "padding": padding}));
        }
        confirm_all(peer);
    });
    let test = test_with_profile("bybit", &["a", "b"], &server.url(), json!({}));
    let go = test.path("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done; cat > /dev/null", go.display());
    let program = json!({ "type": "exec", "command": ["sh", "-c", wait] });
    let files = json!({ "type": "jsonl", "output_dir": test.output(), "partition": "topic" });
    let test = test.set("sinks", json!([files, program])).set("buffer_size", json!(100));
    let recorder = test.start();
    // More than the pipe to the program holds is on its way to it.
    recorder.wait_until(|status| status["received"].as_u64() >= Some(400));
    let topics: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let test = with_topics(test, &topics);
    let (code, report) = reload(&test);
    assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{report:#}");
    fs::write(&go, "").unwrap();
    assert_eq!(server.next_note(), r#"subscribe ["c"]"#);
    recorder.wait_until(|status| status["topics"]["confirmed"] == 3);
    recorder.wait_for_messages(2_002);
    assert_eq!(recorder.status()["connects"], 1);
    recorder.stop();
    let lines =
        test.recorded().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(lines, 2_002, "every message of the stall is written");
}

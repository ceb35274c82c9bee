//! The program that is told of alerts: `on_event`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Server, SmallDisk, TOPIC, Test, WAIT_LIMIT};

/// A server that is away, or that sends one message with each connection.
struct Flaky {
    server: Server,
    is_away: Arc<AtomicBool>,
}

impl Flaky {
    fn start() -> Self {
        let is_away = Arc::new(AtomicBool::new(true));
        let away = Arc::clone(&is_away);
        let server = Server::start(move |_, peer| {
            if away.load(Ordering::SeqCst) {
                peer.read_request();
                return peer.end_stream();
            }
            peer.accept_subscription();
            peer.send_text("{}");
            peer.answer_until_end();
        });
        Self { server, is_away }
    }

    fn come_back(&self) {
        self.is_away.store(false, Ordering::SeqCst);
    }
}

/// Returns a test with a program that is told of alerts after a second.
fn test(url: &str, keys: Value) -> Test {
    let mut on_event = json!({ "after": "1s", "events": ["down"] });
    on_event.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    Test::new(url).set("on_event", on_event)
}

/// Waits until the program has written as many lines, and returns them.
fn wait_for_lines(test: &Test, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        let text = fs::read_to_string(test.path("told")).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(Instant::now() < deadline, "only {text:?} was told");
        std::thread::yield_now();
    }
}

/// Returns the command that appends what it is told to a file of the test.
fn appends(test: &Test) -> Value {
    json!(["sh", "-c", r#"cat >> "$0""#, test.path("told")])
}

#[test]
fn a_program_is_told_when_the_server_is_away_and_when_it_is_back() {
    let flaky = Flaky::start();
    let test = test(&flaky.server.url(), json!({}));
    let command = appends(&test);
    let keys = json!({ "command": command, "after": "1s", "events": ["down"] });
    let test = test.set("on_event", keys);
    let recorder = test.start();
    let lines = wait_for_lines(&test, 1);
    let line = &lines[0];
    assert_eq!((&line["event"], &line["state"]), (&json!("down"), &json!("firing")), "{line}");
    assert_eq!(line["pipeline"], "main");
    assert_eq!(line["pid"], recorder.pid());
    assert!(!line["detail"].as_str().unwrap().is_empty(), "{line}");
    assert!(line["since"].as_str().unwrap() <= line["time"].as_str().unwrap(), "{line}");
    flaky.come_back();
    let lines = wait_for_lines(&test, 2);
    let line = &lines[1];
    assert_eq!((&line["event"], &line["state"]), (&json!("down"), &json!("resolved")), "{line}");
    assert_eq!(line["since"], lines[0]["since"]);
    assert!(line["seconds"].as_u64().unwrap() >= 1, "{line}");
    recorder.stop();
}

#[test]
fn a_program_is_told_of_a_full_disk() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        loop {
            peer.send_text(&format!("{{\"text\":\"{}\"}}", "x".repeat(30_000)));
        }
    });
    let test = test(&server.url(), json!({}));
    fs::create_dir(test.output()).unwrap();
    let Some(_disk) = SmallDisk::mount(&test.output(), "2m") else { return };
    let command = appends(&test);
    let test = test.set("on_event", json!({ "command": command, "after": "1s" }));
    let _recorder = test.start();
    let lines = wait_for_lines(&test, 1);
    assert_eq!((&lines[0]["event"], &lines[0]["state"]), (&json!("stalled"), &json!("firing")));
    assert!(lines[0]["detail"].as_str().unwrap().contains("No space left"), "{lines:?}");
}

#[test]
fn a_program_is_told_of_a_refused_topic() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text(r#"{"success":false,"ret_msg":"no such topic","op":"subscribe"}"#);
        peer.wait_for_end();
    });
    let test = test(&server.url(), json!({}));
    let command = appends(&test);
    let keys = json!({ "command": command, "after": "1s", "events": ["refused"] });
    let test = test.set("on_event", keys);
    let _recorder = test.start();
    let lines = wait_for_lines(&test, 1);
    assert_eq!((&lines[0]["event"], &lines[0]["topic"]), (&json!("refused"), &json!(TOPIC)));
    assert_eq!(lines[0]["detail"], "no such topic");
}

#[test]
fn a_program_that_hangs_floods_or_dies_is_told_once_and_costs_nothing() {
    for script in ["sleep 1000", "yes", "exec 0<&-; exit 3", "yes 1>&2", "kill -9 $$"] {
        let flaky = Flaky::start();
        let program = json!({ "command": ["sh", "-c", script], "timeout": "200ms" });
        let test = test(&flaky.server.url(), program);
        let recorder = test.start();
        recorder.wait_for(&["WARN", "the program of `on_event` failed"]);
        flaky.come_back();
        recorder.wait_for_messages(1);
        let stopped_at = Instant::now();
        recorder.stop();
        assert!(stopped_at.elapsed() < WAIT_LIMIT / 3, "{script:?} delays the stop");
        let log = test.log();
        assert_eq!(log.matches("the program of `on_event` failed").count(), 1, "{log}");
        assert!(log.lines().count() < 200, "{script:?} fills the log");
        assert_eq!(test.recorded(), b"{}\n", "{script:?}");
    }
}

#[test]
fn a_program_that_failed_is_told_again() {
    let flaky = Flaky::start();
    let test = test(&flaky.server.url(), json!({}));
    let script =
        r#"cat >> "$0.$(ls "$0".* 2>/dev/null | wc -l)"; test -e "$0.1" && cp "$0.1" "$0""#;
    let command = json!(["sh", "-c", script, test.path("told")]);
    let test = test.set("on_event", json!({ "command": command, "after": "1s" }));
    let recorder = test.start();
    recorder.wait_for(&["the program of `on_event` failed"]);
    let lines = wait_for_lines(&test, 1);
    assert_eq!(lines[0]["state"], "firing");
    recorder.wait_for(&["the program of `on_event` works again"]);
    recorder.stop();
}

#[test]
fn verify_tells_a_program_of_bad_hours() {
    let test = test("ws://127.0.0.1:1", json!({}));
    let command = appends(&test);
    let test = test.set("on_event", json!({ "command": command }));
    fs::create_dir(test.output()).unwrap();
    let hour = test.output().join("a_1699999200.jsonl.zst");
    fs::write(&hour, "not zstd").unwrap();
    let config = test.config();
    let verified = crate::harness::run(&["verify", "-config", config.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    let lines = wait_for_lines(&test, 1);
    assert_eq!((&lines[0]["event"], lines.len()), (&json!("verify_bad"), 1));
    assert!(lines[0]["detail"].as_str().unwrap().contains("a_1699999200.jsonl.zst"), "{lines:?}");
    // Without the configuration there is no program.
    let dir = test.output();
    let verified = crate::harness::run(&["verify", "--dir", dir.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert_eq!(wait_for_lines(&test, 1).len(), 1);
}

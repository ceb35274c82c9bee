//! The status socket and the command `status`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::harness::{Recorder, Server, Test, WAIT_LIMIT, binary};

fn recording() -> (Server, Test, Recorder) {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    (server, test, recorder)
}

fn is_status_line(line: &str) -> bool {
    let parts: Vec<_> = line.trim_end().split(" | ").collect();
    matches!(parts.as_slice(), [uptime, total, rate]
        if uptime.starts_with("Uptime: ") && total.starts_with("Total Msgs: ")
            && rate.starts_with("Rate: ") && rate.ends_with(" msg/min"))
}

#[test]
fn the_status_line_is_the_same_by_flag_by_command_and_from_the_socket() {
    let (_server, test, recorder) = recording();
    for args in [["-status", "-config"], ["--status", "--config"], ["status", "-config"]] {
        let output = binary().args(args).arg(test.config()).output().unwrap();
        assert!(output.status.success());
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(is_status_line(&line) && line.contains("Total Msgs: 1 |"), "{line}");
    }
    let mut line = String::new();
    UnixStream::connect(test.path("socket")).unwrap().read_to_string(&mut line).unwrap();
    assert!(is_status_line(&line), "{line}");
    let mut socket = UnixStream::connect(test.path("socket")).unwrap();
    socket.write_all(b"json\n").unwrap();
    let mut json = String::new();
    socket.read_to_string(&mut json).unwrap();
    let snapshot: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(snapshot["messages"], 1);
    assert_eq!(snapshot["pid"], recorder.pid());
    let mode = fs::metadata(test.path("socket")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    recorder.stop();
    assert!(!test.path("socket").exists(), "removed at the end");
}

#[test]
fn status_fails_when_no_recorder_answers() {
    let test = Test::new("ws://127.0.0.1:1");
    let output = binary().args(["-status", "-config"]).arg(test.config()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("no recorder answers") && words.contains("socket"), "{words}");
}

#[test]
fn status_waits_two_seconds_for_a_recorder_that_hangs() {
    let test = Test::new("ws://127.0.0.1:1");
    let _never_answers = UnixListener::bind(test.path("socket")).unwrap();
    let begun = Instant::now();
    let output = binary().args(["-status", "-config"]).arg(test.config()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("did not answer within 2s"), "{words}");
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_thousand_clients_that_never_read_or_close_cost_nothing() {
    let (_server, test, recorder) = recording();
    let clients: Vec<_> =
        (0..1_000).map(|_| UnixStream::connect(test.path("socket")).unwrap()).collect();
    let mut half = UnixStream::connect(test.path("socket")).unwrap();
    half.write_all(b"js").unwrap();
    let status = recorder.status();
    assert_eq!(status["messages"], 1);
    drop(clients);
    recorder.stop();
}

#[test]
fn a_dead_recorders_socket_is_replaced() {
    let (server, test, recorder) = recording();
    recorder.kill();
    assert!(fs::metadata(test.path("socket")).unwrap().file_type().is_socket());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
    drop(server);
}

#[test]
fn a_live_recorders_socket_is_left_alone() {
    let (_server, test, recorder) = recording();
    let second =
        Test::new("ws://127.0.0.1:1").set("status_socket", test.path("socket").to_str().into());
    let refused = second.run_refused();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains(&format!("already running (pid {})", recorder.pid())), "{words}");
    assert!(!second.output().exists(), "nothing is touched");
    recorder.status();
    recorder.stop();
}

#[test]
fn what_stands_in_the_place_of_the_socket_costs_the_status_and_is_never_deleted() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let test = Test::new(&server.url());
    let path = test.path("socket");
    let put: [(&str, &dyn Fn() -> Option<UnixDatagram>); 3] = [
        ("is not a socket", &|| {
            fs::write(&path, "precious").unwrap();
            None
        }),
        ("is not a socket", &|| {
            fs::create_dir(&path).unwrap();
            None
        }),
        // A live socket of another program.
        ("cannot tell", &|| Some(UnixDatagram::bind(&path).unwrap())),
    ];
    for (number, (words, put)) in put.into_iter().enumerate() {
        let other = put();
        let recorder = test.start();
        let deadline = Instant::now() + WAIT_LIMIT;
        while test.output().read_dir().is_err() || test.recorded().len() <= 3 * number {
            assert!(Instant::now() < deadline, "nothing is recorded:\n{}", test.log());
            std::thread::yield_now();
        }
        recorder.stop();
        let log = test.log();
        assert!(log.contains(words) && log.contains("without the status socket"), "{log}");
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        assert_eq!(kind.is_socket(), other.is_some());
        if kind.is_file() {
            assert_eq!(fs::read(&path).unwrap(), b"precious");
        }
        if kind.is_dir() {
            fs::remove_dir(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        fs::remove_file(test.path("log")).unwrap();
    }
    assert_eq!(test.recorded(), b"{}\n".repeat(3));
}

#[test]
fn a_program_that_is_no_recorder_and_listens_at_the_socket_costs_the_status_alone() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let test = Test::new(&server.url());
    let listener = UnixListener::bind(test.path("socket")).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            drop(client.unwrap().write_all(b"what?\n"));
        }
    });
    let recorder = test.start();
    recorder.wait_for(&["hour opened"]);
    recorder.stop();
    assert!(test.log().contains("another program listens"), "{}", test.log());
    assert!(test.path("socket").exists());
}

#[test]
fn a_socket_that_was_removed_comes_back() {
    let (_server, test, recorder) = recording();
    fs::remove_file(test.path("socket")).unwrap();
    recorder.wait_for(&["removed or replaced"]);
    recorder.wait_for(&["the status socket is in place"]);
    assert_eq!(recorder.status()["messages"], 1);
    // Something else takes the place, and leaves it.
    fs::remove_file(test.path("socket")).unwrap();
    fs::write(test.path("socket"), "").unwrap();
    recorder.wait_for(&["is not a socket"]);
    fs::remove_file(test.path("socket")).unwrap();
    recorder.wait_for(&["the status socket is in place"]);
    let mode = fs::metadata(test.path("socket")).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, &recorder.status()["messages"]), (0o600, &1.into()));
    recorder.stop();
    assert!(!test.path("socket").exists(), "removed at the end");
}

#[test]
fn a_socket_comes_back_with_its_directory() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let test = Test::new(&server.url());
    let dir = test.path("run");
    let test = test.set("status_socket", dir.join("socket").to_str().into());
    // There is no directory at the start either.
    let recorder = test.start();
    fs::create_dir(&dir).unwrap();
    recorder.wait_for(&["the status socket is in place"]);
    recorder.wait_for_messages(1);
    fs::remove_dir_all(&dir).unwrap();
    recorder.wait_for(&["removed or replaced"]);
    fs::create_dir(&dir).unwrap();
    recorder.wait_for(&["the status socket is in place"]);
    recorder.wait_for_messages(1);
    recorder.stop();
}

/// Returns the exit code and the line of `status --check`.
fn check(test: &Test, more: &[&str]) -> (Option<i32>, String) {
    let mut command = binary();
    command.args(["status", "--check", "--config"]).arg(test.config()).args(more);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_recorder_that_is_well_is_fine_and_says_when_data_came() {
    let (_server, test, recorder) = recording();
    assert!(is_status_line(&recorder.status_line()), "{}", recorder.status_line());
    assert_eq!(check(&test, &["--max-age", "60s"]), (Some(0), "FINE\n".to_owned()));
    let status = recorder.status();
    let main = &status["pipelines"]["main"];
    // The server answers no subscription.
    assert!(["up", "unconfirmed"].map(Into::into).contains(&main["state"]), "{main}");
    let age = main["last_data_age_seconds"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&age), "{main}");
    assert!(main["last_data"].as_str().unwrap().ends_with('Z'), "{main}");
    let connection = &main["connection_states"][0];
    assert_eq!((&connection["connection"], &connection["state"]), (&1.into(), &"up".into()));
    assert_eq!(connection["messages"], 1);
    // The only message is older than this.
    let (code, line) = check(&test, &["--max-age", "1ms"]);
    assert!(code == Some(2) && line.starts_with("DOWN | no data for "), "{line}");
    recorder.stop();
    let (code, line) = check(&test, &[]);
    assert!(code == Some(3) && line.starts_with("NO ANSWER | no recorder answers"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[test]
fn a_server_that_is_away_is_told_with_its_cause() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.end_stream();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    let status = recorder.wait_until(|status| {
        status["outage"]["next_connect_seconds"].as_u64().is_some_and(|next| next > 0)
    });
    assert_eq!(status["pipelines"]["main"]["state"], "down");
    assert_eq!(status["pipelines"]["main"]["connection_states"][0]["state"], "down");
    let line = recorder.status_line();
    assert!(
        line.starts_with("Uptime: ") && line.contains(" msg/min | DISCONNECTED for "),
        "{line}"
    );
    assert!(status["outage"]["cause"].as_str().is_some_and(|cause| !cause.is_empty()));
    let (code, line) = check(&test, &[]);
    assert!(code == Some(2) && line.starts_with("DOWN | DISCONNECTED for "), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    recorder.stop();
}

#[test]
fn with_several_pipelines_each_has_a_line_when_one_is_down() {
    let up = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let away = Server::start(|_, peer| {
        peer.read_request();
        peer.end_stream();
    });
    let test = Test::new("ws://127.0.0.1:1");
    let pipeline = |url: &str, name: &str| {
        serde_json::json!({
            "source": { "type": "websocket", "url": url, "topics": [name] },
            "sinks": [{ "type": "jsonl", "output_dir": test.path(name) }],
        })
    };
    let pipelines = serde_json::json!({
        "good": pipeline(&up.url(), "good"),
        "bad": pipeline(&away.url(), "bad"),
    });
    let test = test.without("ws_url").without("topic").without("output_dir");
    let test = test.set("pipelines", pipelines);
    let recorder = test.start();
    recorder.wait_until(|status| {
        status["pipelines"]["bad"]["outage"]["cause"].is_string()
            && status["pipelines"]["good"]["messages"] == 1
    });
    let lines = recorder.status_line();
    let lines: Vec<_> = lines.lines().collect();
    let [sum, bad, good] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(is_status_line(sum), "{sum}");
    assert!(
        bad.starts_with("  bad: Total Msgs: 0 | Rate: ") && bad.contains("DISCONNECTED"),
        "{bad}"
    );
    assert!(good.starts_with("  good: Total Msgs: 1 ") && good.ends_with(" msg/min"), "{good}");
    let (code, line) = check(&test, &[]);
    assert!(code == Some(2) && line.starts_with("DOWN | bad: DISCONNECTED"), "{line}");
    recorder.stop();
}

#[test]
fn control_messages_are_counted_apart_and_are_no_data() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text(r#"{"success":true,"ret_msg":"pong","op":"ping"}"#);
        peer.answer_until_end();
    });
    let keys = serde_json::json!({ "profile": "bybit" });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    let status = recorder.wait_until(|status| status["control"] == 1);
    let main = &status["pipelines"]["main"];
    assert!(main["last_message_age_seconds"].is_f64(), "{main}");
    assert!(main["last_data_age_seconds"].is_null(), "{main}");
    recorder.stop();
}

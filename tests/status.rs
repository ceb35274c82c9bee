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

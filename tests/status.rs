//! The status socket and the command `status`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::harness::{Recorder, Server, Test, binary};

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
fn a_file_that_is_no_socket_is_never_deleted() {
    let test = Test::new("ws://127.0.0.1:1");
    fs::write(test.path("socket"), "precious").unwrap();
    let refused = test.run_refused();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("not a socket"));
    assert_eq!(fs::read(test.path("socket")).unwrap(), b"precious");
    fs::remove_file(test.path("socket")).unwrap();
    fs::create_dir(test.path("socket")).unwrap();
    assert_eq!(test.run_refused().status.code(), Some(1));
    assert!(test.path("socket").is_dir() && !test.output().exists());
}

#[test]
fn a_live_socket_of_another_program_is_never_deleted() {
    let test = Test::new("ws://127.0.0.1:1");
    let other = std::os::unix::net::UnixDatagram::bind(test.path("socket")).unwrap();
    let refused = test.run_refused();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("cannot tell"));
    assert!(test.path("socket").exists());
    drop(other);
}

//! The log file.

use std::fs;

use crate::harness::{Server, Test};

fn start_silent_server() -> Server {
    Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    })
}

#[test]
fn start_connect_status_and_stop_are_logged_to_the_file() {
    let server = start_silent_server();
    let test = Test::new(&server.url()).set("status_interval", 1.into());
    let recorder = test.start();
    recorder.wait_for(&["Uptime: ", "Total Msgs: 1"]);
    recorder.stop();
    let log = test.log();
    for words in [
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        "config.json",
        &format!("endpoint={}/", server.url()),
        test.output().to_str().unwrap(),
        "connected",
        "Total Msgs: 1",
        "stopping signal=\"SIGTERM\"",
        "stopped messages=1",
    ] {
        assert!(log.contains(words), "no {words:?} in:\n{log}");
    }
}

#[test]
fn sighup_reopens_a_log_that_was_moved_away() {
    let server = start_silent_server();
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for(&["hour opened"]);
    fs::rename(test.path("log"), test.path("log.old")).unwrap();
    recorder.signal("HUP");
    recorder.wait_for(&["reopened the log file"]);
    recorder.stop();
    assert!(fs::read_to_string(test.path("log.old")).unwrap().contains("started"));
    assert!(test.log().contains("stopped"));
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_recording() {
    let server = start_silent_server();
    let test = Test::new(&server.url());
    let nowhere = test.path("no/such/directory/log");
    let test = test.set("log_file", nowhere.to_str().into());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    assert!(recorder.status()["log_lines_lost"].as_u64().unwrap() > 0);
    recorder.stop();
    assert_eq!(test.recorded(), b"{}\n");
}

#[test]
fn the_log_file_is_bounded() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.end_stream();
    });
    let test =
        Test::new(&server.url()).set("log_max_size", "1KiB".into()).set("log_files", 1.into());
    let recorder = test.start();
    for _ in 0..4 {
        recorder.wait_for(&["disconnected"]);
    }
    recorder.stop();
    assert!(fs::metadata(test.path("log")).unwrap().len() <= 1024);
    assert!(fs::metadata(test.path("log.1")).unwrap().len() <= 1024);
    assert!(!test.path("log.2").exists());
}

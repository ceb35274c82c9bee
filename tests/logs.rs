//! The log file.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Instant;

use rustix::fs::{CWD, mkfifoat};
use serde_json::{Value, json};

use crate::harness::{Server, Test, WAIT_LIMIT, binary};

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

#[test]
fn a_log_that_is_no_file_holds_up_neither_start_nor_stop() {
    let server = start_silent_server();
    let fifo = |test: &Test| mkfifoat(CWD, test.path("log"), 0o600.into()).unwrap();
    let directory = |test: &Test| fs::create_dir(test.path("log")).unwrap();
    let socket = |test: &Test| drop(UnixDatagram::bind(test.path("log")).unwrap());
    let full = |test: &Test| std::os::unix::fs::symlink("/dev/full", test.path("log")).unwrap();
    let makes: [&dyn Fn(&Test); 4] = [&fifo, &directory, &socket, &full];
    for make in makes {
        let test = Test::new(&server.url());
        make(&test);
        let recorder = test.start();
        recorder.wait_for_messages(1);
        assert!(recorder.status()["log_lines_lost"].as_u64().unwrap() > 0);
        recorder.stop();
        assert_eq!(test.recorded(), b"{}\n");
    }
}

#[test]
fn a_fifo_gets_the_log_once_somebody_reads_it() {
    let server = start_silent_server();
    let test = Test::new(&server.url());
    mkfifoat(CWD, test.path("log"), 0o600.into()).unwrap();
    let recorder = test.start();
    let path = test.path("log");
    // The log is closed and opened again, which must not end the reading.
    let writer = File::options().write(true).read(true).open(&path).unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        File::open(path).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    // The log opens the FIFO with a line that follows.
    recorder.signal("HUP");
    recorder.wait_for(&["reopened the log file"]);
    recorder.stop();
    drop(writer);
    let text = reader.join().unwrap();
    assert!(text.contains("stopped"), "{text}");
}

#[test]
fn a_console_that_nobody_reads_stops_neither_the_log_file_nor_the_recorder() {
    let server = start_silent_server();
    let test = Test::new(&server.url()).set("log_to_stdout", true.into());
    let (_unread, full_pipe) = std::io::pipe().unwrap();
    fill(&full_pipe);
    let stdout = Stdio::from(full_pipe.try_clone().unwrap());
    let mut command = binary();
    command.arg("-config").arg(test.config()).stdin(Stdio::null());
    let mut recorder = command.stdout(stdout).stderr(full_pipe).spawn().unwrap();
    let deadline = Instant::now() + WAIT_LIMIT;
    while !test.log().contains("hour opened") {
        assert!(Instant::now() < deadline, "the log file has:\n{}", test.log());
        std::thread::yield_now();
    }
    let pid = recorder.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    while recorder.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            recorder.kill().unwrap();
            panic!("the recorder did not end");
        }
        std::thread::yield_now();
    }
    assert!(recorder.wait().unwrap().success());
    assert!(test.log().contains("stopped messages=1"), "{}", test.log());
}

#[test]
fn an_error_at_the_end_waits_for_no_reader() {
    let (_unread, full_pipe) = std::io::pipe().unwrap();
    fill(&full_pipe);
    let mut command = std::process::Command::new("timeout");
    command.args(["-s", "KILL", &WAIT_LIMIT.as_secs().to_string()]);
    command.arg(env!("CARGO_BIN_EXE_streamer")).args(["check", "-config", "/nonexistent"]);
    let ended = command.stderr(full_pipe).status().unwrap();
    assert_eq!(ended.code(), Some(2));
}

/// Writes to the pipe until it takes no more.
fn fill(mut pipe: &std::io::PipeWriter) {
    rustix::io::ioctl_fionbio(pipe, true).unwrap();
    while pipe.write_all(&[b'x'; 4096]).is_ok() {}
    while pipe.write_all(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(pipe, false).unwrap();
}

#[test]
fn what_is_logged_before_the_log_has_its_place_is_not_lost() {
    let server = start_silent_server();
    // The directory of the socket is missing, which is found before the log file is opened.
    let nowhere = tempfile::tempdir().unwrap().path().join("socket");
    let test = Test::new(&server.url()).set("status_socket", nowhere.to_str().into());
    let recorder = test.start();
    recorder.stop();
    let log = test.log();
    let warning = log.find("without the status socket").expect(&log);
    assert!(warning < log.find("started").unwrap(), "{log}");
    // A recorder that is refused leaves the log of the other alone, and says all on stderr.
    let file = test.path("file");
    fs::write(&file, "").unwrap();
    let output_dir = file.join("output");
    let test = test.set("output_dir", output_dir.to_str().into()).set("log_file", "".into());
    let words = String::from_utf8(test.run_refused().stderr).unwrap();
    assert!(words.contains("without the status socket"), "{words}");
    assert!(words.contains("cannot create the directory"), "{words}");
}

#[test]
fn the_log_can_be_json_with_the_names_of_pipelines() {
    let server = start_silent_server();
    let test = Test::new(&server.url());
    let config = fs::read_to_string(test.config()).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let source = json!({ "type": "websocket", "url": server.url(), "topics": ["${TOPIC}"] });
    let sink = json!({ "type": "jsonl", "output_dir": config["output_dir"] });
    let other = json!({ "type": "jsonl", "output_dir": test.path("other") });
    let test = test
        .without("topic")
        .without("ws_url")
        .without("output_dir")
        .env("TOPIC", "publicTrade.BTCUSDT")
        .set("log_format", "json".into())
        .set(
            "pipelines",
            json!({
                "a": { "source": source, "sinks": [sink] },
                "b": { "source": source, "sinks": [other] },
            }),
        );
    let recorder = test.start();
    recorder.wait_for_messages(2);
    recorder.stop();
    let lines = test.log();
    assert!(!lines.contains("publicTrade.BTCUSDT"), "a secret is shown:\n{lines}");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |message: &str| {
        let mut lines = lines.iter().filter(move |line| line["message"] == message);
        lines.next().unwrap_or_else(|| panic!("no {message:?} in {lines:?}"))
    };
    let started = of("started");
    assert!(started["time"].as_str().unwrap().starts_with("20"), "{started}");
    assert_eq!(started["level"], "info");
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert!(started["pid"].is_u64(), "{started}");
    let pipelines: Vec<_> = lines.iter().filter_map(|line| line["pipeline"].as_str()).collect();
    assert!(pipelines.contains(&"a") && pipelines.contains(&"b"), "{lines:?}");
    assert_eq!(of("stopped")["messages"], 2);
}

#[test]
fn lines_below_the_level_are_not_logged() {
    let server = start_silent_server();
    let test = Test::new(&server.url()).set("log_level", "warn".into());
    let mut recorder = test.command().stdin(Stdio::null()).spawn().unwrap();
    let config = test.config();
    let status = ["status", "-config", config.to_str().unwrap()];
    let deadline = Instant::now() + WAIT_LIMIT;
    while !crate::harness::run(&status).status.success() {
        assert!(Instant::now() < deadline, "the recorder does not answer");
    }
    let pid = recorder.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(recorder.wait().unwrap().success());
    let log = test.log();
    assert!(log.lines().all(|line| line.contains(" WARN ")), "{log}");
}

#[test]
fn the_journal_of_systemd_gets_priorities_and_no_second_time() {
    let server = start_silent_server();
    for is_ours in [true, false] {
        let (mut stderr, journal) = std::io::pipe().unwrap();
        let status = rustix::fs::fstat(&journal).unwrap();
        // A stream that was redirected has another inode than the journal's.
        let inode = status.st_ino + u64::from(!is_ours);
        let test = Test::new(&server.url()).set("log_file", "".into());
        let mut command = test.command();
        command.env("JOURNAL_STREAM", format!("{}:{inode}", status.st_dev));
        let mut recorder = command.stdin(Stdio::null()).stderr(journal).spawn().unwrap();
        drop(command);
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("hour opened") {
            let read = stderr.read(&mut buffer).unwrap();
            assert!(read > 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let pid = recorder.id().to_string();
        assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
        stderr.read_to_string(&mut text).unwrap();
        assert!(recorder.wait().unwrap().success());
        let begins = |line: &str| match is_ours {
            true => line.starts_with("<6>INFO ") || line.starts_with("<4>WARN "),
            false => line.starts_with("20") && line.contains(" INFO ") || line.contains(" WARN "),
        };
        assert!(text.lines().all(begins), "{text}");
        assert!(text.contains("stopped messages=1"), "{text}");
    }
}

#[test]
fn words_of_a_server_are_cut_and_logged_at_a_limited_rate() {
    const TIMES: u64 = 40;
    let server = Server::start(|_, peer| {
        peer.accept();
        let (_, request) = peer.read_frame().unwrap();
        let request: Value = serde_json::from_slice(&request).unwrap();
        peer.send_text(&json!({ "result": null, "id": request["id"] }).to_string());
        for number in 0..TIMES {
            let unnamable = format!("{number}{}", "ü".repeat(1_000));
            peer.send_text(&json!({ "stream": unnamable }).to_string());
            let refusal = json!({ "code": 2, "msg": format!("no {number}") });
            peer.send_text(&json!({ "error": refusal, "id": 77 }).to_string());
            peer.send_text(&json!({ "e": "serverShutdown", "E": number }).to_string());
        }
        peer.answer_until_end();
    });
    let source = json!({ "profile": "binance", "topics": ["btcusdt@trade"] });
    let test = Test::with_source(&server.url(), source).without("output_dir");
    let sink = json!({ "type": "jsonl", "output_dir": test.output(), "partition": "/stream" });
    let test = test.set("sinks", json!([sink]));
    let recorder = test.start();
    recorder.wait_for_messages(1 + 3 * TIMES);
    recorder.stop();
    let log = test.log();
    for words in
        ["no file can be named after", "refuses something that is not", "announces the end"]
    {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
        assert!((1..=2).contains(&lines.len()), "{words}: {log}");
        assert!(lines.iter().all(|line| line.len() < 1_000), "{words}: {log}");
    }
}

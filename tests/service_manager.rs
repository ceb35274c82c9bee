//! What systemd is told: the start, the status, the stop, and signs of life while there is progress.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Server, SmallDisk, Test, WAIT_LIMIT};

/// The time of the watchdog in these tests.
const WATCHDOG: Duration = Duration::from_secs(3);

/// A service manager that takes notifications.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn bind(test: &Test) -> Self {
        Self { socket: UnixDatagram::bind(test.path("notify")).unwrap() }
    }

    /// Returns the next notification, unless none comes within `limit`.
    fn next(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a notification that begins so, and returns those before it.
    fn wait_for(&self, start: &str) -> Vec<String> {
        let mut before = Vec::new();
        let deadline = Instant::now() + WAIT_LIMIT;
        while let Some(next) = self.next(deadline.saturating_duration_since(Instant::now())) {
            before.push(next);
            if before.last().unwrap().starts_with(start) {
                return before;
            }
        }
        panic!("no {start} after {before:?}");
    }

    /// Waits for the signs of life of so many times of the watchdog, none of which is late.
    fn expect_life(&self, times: usize) {
        let mut signs = 0;
        while signs < 4 * times {
            let next = self.next(WATCHDOG).expect("the watchdog bites");
            signs += usize::from(next == "WATCHDOG=1");
        }
    }

    /// Waits until the watchdog bites: no sign of life comes for its time.
    fn expect_death(&self) {
        let deadline = Instant::now() + WAIT_LIMIT;
        while self.next(WATCHDOG).is_some() {
            assert!(Instant::now() < deadline, "the watchdog is fed");
        }
    }
}

/// Returns the test with a service manager and a watchdog.
fn managed(test: Test) -> Test {
    let socket = test.path("notify");
    let micros = WATCHDOG.as_micros().to_string();
    test.env("NOTIFY_SOCKET", socket.to_str().unwrap()).env("WATCHDOG_USEC", &micros)
}

fn start_silent_server() -> Server {
    Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    })
}

/// Starts a server that sends large messages without end.
fn start_flooding_server() -> Server {
    Server::start(|_, peer| {
        peer.accept_subscription();
        let text = format!("{{\"text\":\"{}\"}}", "x".repeat(30_000));
        loop {
            peer.send_text(&text);
        }
    })
}

#[test]
fn the_service_manager_is_told_of_start_status_reload_and_stop() {
    let server = Server::start(|number, peer| {
        peer.read_request();
        if number > 0 {
            let answer = peer.handshake_response();
            peer.send(&answer);
            peer.answer_until_end();
        }
        peer.send_note("refused");
        peer.end_stream();
    });
    let test = managed(Test::new(&server.url()));
    let manager = Manager::bind(&test);
    let mut recorder = test.start();
    let before = manager.wait_for("READY=1");
    assert!(before.iter().all(|text| text == "WATCHDOG=1" || text == "READY=1"), "{before:?}");
    assert_eq!(server.next_note(), "refused", "the first connect was tried");
    let status = manager.wait_for("STATUS=");
    assert!(status.last().unwrap().starts_with("STATUS=Uptime: "), "{status:?}");
    recorder.signal("HUP");
    let reload = manager.wait_for("RELOADING=1\nMONOTONIC_USEC=");
    assert!(!reload.contains(&"READY=1".to_owned()), "{reload:?}");
    manager.wait_for("READY=1");
    recorder.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert!(recorder.wait().success());
}

#[test]
fn a_service_manager_that_is_not_there_costs_one_warning() {
    let server = start_silent_server();
    let test = managed(Test::new(&server.url()));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.wait_for(&["WARN", "the service manager takes no notifications", "NOTIFY_SOCKET"]);
    recorder.signal("HUP");
    recorder.wait_for(&["reopened the log file"]);
    recorder.stop();
    assert_eq!(test.log().matches("NOTIFY_SOCKET").count(), 1, "{}", test.log());
    assert_eq!(test.recorded(), b"{}\n");
}

#[test]
fn a_service_manager_that_does_not_read_holds_nothing_up() {
    let server = start_silent_server();
    let test = managed(Test::new(&server.url()));
    let manager = Manager::bind(&test);
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"full", test.path("notify")).is_ok() {}
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.wait_for(&["the service manager takes no notifications"]);
    // What it has missed of the start comes when it reads again.
    manager.wait_for("READY=1");
    recorder.stop();
}

#[test]
fn an_abstract_socket_is_a_service_manager_too() {
    let server = start_silent_server();
    let test = Test::new(&server.url());
    let name = test.path("notify").to_str().unwrap().to_owned();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager { socket: UnixDatagram::bind_addr(&address).unwrap() };
    let test = test.env("NOTIFY_SOCKET", &format!("@{name}"));
    let recorder = test.start();
    manager.wait_for("READY=1");
    recorder.stop();
}

#[test]
fn the_watchdog_bites_when_a_stage_never_returns() {
    let server = start_silent_server();
    let endless = json!([{ "type": "jq", "program": "last(range(1e18))" }]);
    let test = managed(Test::with_source(&server.url(), json!({})).set("stages", endless));
    let manager = Manager::bind(&test);
    let recorder = test.start();
    manager.expect_death();
    recorder.wait_for(&[
        "ERROR",
        "the thread of a pipeline makes no progress",
        "pipelines=\"main\"",
    ]);
}

#[test]
fn the_watchdog_bites_when_a_sink_blocks() {
    let server = start_flooding_server();
    let test = managed(Test::new(&server.url()).without("output_dir"));
    let test = test.set("sinks", json!([{ "type": "stdout" }])).set("log_file", "".into());
    let manager = Manager::bind(&test);
    // Nobody reads the other end.
    let (_unread, stdout) = std::io::pipe().unwrap();
    let mut command = test.command();
    let mut recorder = command.stdin(std::process::Stdio::null()).stdout(stdout).spawn().unwrap();
    manager.wait_for("READY=1");
    manager.expect_death();
    recorder.kill().unwrap();
    recorder.wait().unwrap();
}

#[test]
fn the_watchdog_is_fed_while_nothing_comes() {
    let server = start_silent_server();
    let test = managed(Test::new(&server.url()));
    let manager = Manager::bind(&test);
    let recorder = test.start();
    recorder.wait_for_messages(1);
    manager.expect_life(2);
    recorder.stop();
}

#[test]
fn the_watchdog_is_fed_while_the_disk_is_full() {
    let server = start_flooding_server();
    let test = managed(Test::new(&server.url()));
    std::fs::create_dir(test.output()).unwrap();
    let Some(_disk) = SmallDisk::mount(&test.output(), "2m") else { return };
    let manager = Manager::bind(&test);
    let recorder = test.start();
    recorder.wait_until(|status| status["stall"].is_object());
    // By then the recorder pauses for longer than the watchdog's time between two attempts.
    manager.expect_life(4);
}

#[test]
fn the_watchdog_is_fed_while_a_program_is_slow() {
    let server = start_flooding_server();
    let slow = json!({ "command": ["sleep", "1000"], "timeout": "1000s", "type": "exec" });
    for key in ["sinks", "stages"] {
        let test = managed(Test::with_source(&server.url(), json!({})));
        let test = if key == "sinks" { test.without("output_dir") } else { test };
        let test = test.set(key, json!([slow]));
        let manager = Manager::bind(&test);
        let recorder = test.start();
        recorder.wait_until(|status| status["queue"]["messages"].as_u64().unwrap() > 100);
        manager.expect_life(2);
        recorder.kill();
    }
}

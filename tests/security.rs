//! Secrets, file modes, links of other users, and limits of memory.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

use serde_json::json;

use crate::harness::{Server, Test, run};

const CANARY: &str = "canary-7f3a";

#[test]
fn secrets_appear_in_no_output() {
    // The server repeats whatever it receives.
    let server = Server::start(|number, peer| match number {
        0 => {
            peer.read_request();
            let request = peer.request.clone();
            let head =
                format!("HTTP/1.1 403 Forbidden\r\nLocation: http://h/{CANARY}\r\n\r\n{request}");
            peer.send(head.as_bytes());
            peer.wait_for_end();
        }
        1 => {
            peer.accept_subscription();
            peer.send_frame(0x88, format!("\x03\u{0}{CANARY} is wrong").as_bytes());
            peer.wait_for_end();
        }
        2 => {
            let subscription = peer.accept_subscription();
            assert!(subscription.contains(CANARY), "{subscription}");
            let words = json!({ "success": false, "ret_msg": CANARY, "op": "subscribe" });
            peer.send_text(&words.to_string());
            peer.wait_for_end();
        }
        _ => {
            peer.accept_subscription();
            peer.send_text("{\"topic\":\"t\"}");
            peer.answer_until_end();
        }
    });
    let url = server.url() + "/${TEST_CANARY}?key=${TEST_CANARY}";
    let keys = json!({
        "headers": { "Authorization": "Bearer ${TEST_CANARY}" },
        "subscribe": { "op": "subscribe", "args": "{topics}", "token": "${TEST_CANARY}" },
    });
    let test = Test::with_source(&url, keys).env("TEST_CANARY", CANARY);
    let recorder = test.start();
    let status = recorder.wait_until(|status| {
        status["connects"].as_u64().unwrap() >= 3 && status["connected"] == true
    });
    recorder.wait_for_messages(2);
    let mut visible = status.to_string();
    recorder.stop();
    visible += &test.log();
    // The recording holds the server's bytes verbatim. No other file may hold a secret.
    let journal = test.journal();
    visible += &serde_json::to_string(&journal).unwrap();
    let config = test.config();
    let report = test.path("report.html");
    for args in [
        &["check"][..],
        &["check", "--json"],
        &["ls"],
        &["gaps"],
        &["verify"],
        &["report"],
        &["report", "--html", report.to_str().unwrap()],
    ] {
        let mut command = crate::harness::binary();
        command.args(args).arg("-config").arg(&config).env("TEST_CANARY", CANARY);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        visible += &String::from_utf8(output.stdout).unwrap();
        visible += &String::from_utf8(output.stderr).unwrap();
    }
    visible += &fs::read_to_string(report).unwrap();
    // An error message about another key must not show the secret.
    let wrong = test.set("buffer_sise", 3.into());
    let refused = wrong.run_refused();
    assert_eq!(refused.status.code(), Some(2));
    visible += &String::from_utf8(refused.stderr).unwrap();
    // A password in the URL is refused, and the error does not repeat it.
    let refused = Test::new(&format!("ws://user:{CANARY}@127.0.0.1:1")).run_refused();
    assert_eq!(refused.status.code(), Some(2));
    visible += &String::from_utf8(refused.stderr).unwrap();
    assert!(
        !visible.contains(CANARY),
        "{}",
        &visible[visible.find(CANARY).unwrap().saturating_sub(300)..]
    );
    assert!(visible.contains("***"), "nothing was masked");
}

#[test]
fn control_characters_from_a_server_are_escaped_in_the_log() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.send(
            b"HTTP/1.1 403 Forbidden\r\n\r\n\x1b[2J\n2026-01-01T00:00:00.000Z  INFO stopped\x07",
        );
        peer.wait_for_end();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for(&["disconnected"]);
    recorder.stop();
    let log = test.log();
    assert!(!log.contains('\x1b') && !log.contains('\x07'), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00:00:00.000Z")), "{log}");
    let gaps = run(&["gaps", "-config", test.config().to_str().unwrap()]).stdout;
    let gaps = String::from_utf8(gaps).unwrap();
    assert!(!gaps.contains('\x1b') && gaps.contains("\\u{1b}[2J"), "{gaps}");
}

#[test]
fn files_have_the_configured_modes() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let test = Test::new(&server.url()).without("output_dir");
    let output = test.output();
    let sink = json!([{ "type": "jsonl", "output_dir": output, "file_mode": "0600" }]);
    let test = test.set("sinks", sink).set("archive", json!({}));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&test.path("socket")), 0o600);
    recorder.stop();
    assert_eq!(mode(&output), 0o700);
    for entry in fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path()) {
        if !entry.file_name().unwrap().to_str().unwrap().starts_with('.') {
            assert_eq!(mode(&entry), 0o600, "{}", entry.display());
        }
    }
}

#[test]
fn a_symbolic_link_of_another_user_is_not_followed() {
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let target = tempfile::tempdir().unwrap();
    let link = open.path().join("link");
    symlink(target.path(), &link).unwrap();
    if lchown(&link, Some(65_534), None).is_err() {
        // Only root can change the owner; the test in the library covers the rest.
        return;
    }
    let below = link.join("x");
    for key in ["output_dir", "status_socket"] {
        let test = Test::new("ws://127.0.0.1:1").set(key, below.to_str().into());
        let refused = test.run_refused();
        assert_eq!(refused.status.code(), Some(1), "{key}");
        let words = String::from_utf8(refused.stderr).unwrap();
        assert!(words.contains("symbolic link of another user (uid 65534)"), "{key}: {words}");
    }
    // The recorder runs without its log file.
    let test = Test::new("ws://127.0.0.1:1").set("log_file", below.to_str().into());
    let recorder = test.start();
    recorder.wait_for(&["disconnected"]);
    recorder.stop();
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn running_as_root_is_logged_as_a_warning() {
    let test = Test::new("ws://127.0.0.1:1");
    let recorder = test.start();
    if rustix::process::geteuid().is_root() {
        recorder.wait_for(&["running as root"]);
    }
    recorder.stop();
}

#[test]
fn huge_messages_and_endless_fragments_take_no_more_than_their_limit() {
    const LIMIT: usize = 8 << 20;
    let server = Server::start(|number, peer| {
        peer.accept_subscription();
        match number {
            // Messages of the greatest size that is allowed.
            0 => {
                let message = crate::harness::frame(0x81, &vec![b'x'; LIMIT]);
                for _ in 0..10 {
                    peer.send(&message);
                }
                peer.end_stream();
            }
            // A message whose fragments never end.
            1 => {
                peer.send(&crate::harness::frame(0x01, b"x"));
                let more = crate::harness::frame(0x00, &[b'x'; 1 << 16]);
                while std::io::Write::write_all(&mut peer.stream, &more).is_ok() {}
            }
            _ => peer.answer_until_end(),
        }
    });
    let keys = json!({ "max_message_size": "8MiB" });
    let test = Test::with_source(&server.url(), keys).set("buffer_bytes", "16MiB".into());
    let recorder = test.start();
    let status = recorder.wait_until(|status| status["connects"] == 3);
    assert_eq!(status["disconnects"]["too_large"], 1, "{status:#}");
    assert_eq!(status["messages"], 10);
    // The limit allows for the message that is read, the queue, and buffers that grow by doubling.
    let peak = recorder.memory_kib("VmHWM") << 10;
    assert!(peak < 12 * LIMIT as u64, "{} MiB", peak >> 20);
    recorder.stop();
}

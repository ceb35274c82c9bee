//! Secrets, file modes, links of other users, and limits of memory.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

use serde_json::{Value, json};

use crate::harness::{Server, Test, binary, run};

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
    let foreign = "symbolic link of another user (uid 65534)";
    let test = Test::new("ws://127.0.0.1:1").set("output_dir", below.to_str().into());
    let refused = test.run_refused();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains(foreign), "{words}");
    // The recorder runs without its status socket and without its log file.
    let test = Test::new("ws://127.0.0.1:1").set("status_socket", below.to_str().into());
    let recorder = test.start();
    recorder.wait_for(&["disconnected"]);
    recorder.stop();
    assert!(test.log().contains(foreign), "{}", test.log());
    let test = Test::new("ws://127.0.0.1:1").set("log_file", below.to_str().into());
    let recorder = test.start();
    recorder.wait_for(&["disconnected"]);
    recorder.stop();
    // Nor does a command write there.
    let archive = test.output();
    let dir = archive.to_str().unwrap();
    let report = link.join("report.html");
    let config = link.join("config.json");
    let link_itself = open.path().join("report.html");
    symlink(target.path().join("victim"), &link_itself).unwrap();
    lchown(&link_itself, Some(65_534), None).unwrap();
    for args in [
        &["report", "--dir", dir, "--html", report.to_str().unwrap()][..],
        &["report", "--dir", dir, "--html", link_itself.to_str().unwrap()],
        &["init", "-config", config.to_str().unwrap()],
        &["archive", "--dir", link.to_str().unwrap()],
    ] {
        let output = run(args);
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {words}");
        assert!(words.contains(foreign), "{args:?}: {words}");
    }
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

/// Returns everything that a recorder shows: its log, its status, its journals, and `check`.
fn shown_by(test: &Test, status: &Value) -> String {
    let mut shown = status.to_string() + &test.log();
    shown += &serde_json::to_string(&test.journal()).unwrap();
    for args in [&["check"][..], &["gaps"], &["report"]] {
        let mut command = test.command();
        let output = command.args(args).output().unwrap();
        shown += &String::from_utf8(output.stdout).unwrap();
        shown += &String::from_utf8(output.stderr).unwrap();
    }
    shown
}

#[test]
fn literal_secrets_that_a_server_repeats_are_masked_in_every_spelling() {
    const HEADER: &str = "kept/by\"header\\w\u{f6}rd";
    let base64 = data_encoding::BASE64.encode(format!("user:{HEADER}").as_bytes());
    let base64_twice = data_encoding::BASE64.encode(format!("a {base64}").as_bytes());
    let answers = [
        // The secret is where the text is cut.
        format!("HTTP/1.1 403 Forbidden\r\n\r\n{}cookie-1234567890 is wrong", "x".repeat(290)),
        format!("HTTP/1.1 403 Forbidden\r\n\r\n{}cookie-1234567890 is wrong", "x".repeat(380)),
        "HTTP/1.1 403 Forbidden\r\n\r\n{\"key\":\"kept\\/by\\\"header\\\\w\\u00f6rd\"}".to_owned(),
        "HTTP/1.1 403 Forbidden\r\n\r\nno kept%2fby%22header%5Cw%C3%B6rd, no query%2D12345678"
            .to_owned(),
        format!("HTTP/1.1 401 Unauthorized\r\n\r\nnot {base64}"),
        "HTTP/1.1 302 Found\r\nLocation: https://login-user:x@h/a?t=1#fragment-of-location\r\n\r\n"
            .to_owned(),
        // The answer ends within the secret.
        "HTTP/1.1 403 Forbidden\r\n\r\nwrong cookie-12345".to_owned(),
        "HTTP/1.1 403 Forbidden\r\n\r\nno such session as token-of-the-message".to_owned(),
        format!("HTTP/1.1 403 Forbidden\r\n\r\n{}", "\\".repeat(8_000)),
        format!("HTTP/1.1 403 Forbidden\r\n\r\nnot {base64_twice}"),
        "HTTP/1.1 403 Forbidden\r\n\r\nno such key 0123456789abcdef0123456789abcdef".to_owned(),
    ];
    let refused = answers.into_iter().map(|answer| {
        Server::start(move |_, peer| {
            peer.read_request();
            peer.send(answer.as_bytes());
            peer.end_stream();
        })
    });
    let closing = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_frame(0x88, b"\x03\xf0bad query-12345678 of cookie-1234567890");
        peer.wait_for_end();
    });
    let rejecting = Server::start(|_, peer| {
        peer.accept_subscription();
        let words = "query-12345678 and token-of-the-message";
        let refusal = json!({ "success": false, "ret_msg": words, "op": "subscribe" });
        peer.send_text(&refusal.to_string());
        peer.wait_for_end();
    });
    let mut shown = String::new();
    for server in refused.chain([closing, rejecting]) {
        let url = server.url() + "/v3/0123456789abcdef0123456789abcdef?sid=query-12345678";
        let keys = json!({
            "headers": { "X-Any": HEADER, "X-Path": "\\begins-with", "Cookie": "a=b; session=cookie-1234567890" },
            "subscribe": { "op": "subscribe", "args": "{topics}", "token": "token-of-the-message" },
        });
        let test = Test::with_source(&url, keys);
        let recorder = test.start();
        recorder.wait_for(&["disconnected"]);
        let status = recorder.status();
        recorder.stop();
        shown += &shown_by(&test, &status);
    }
    for secret in [
        "cookie-1234",
        "by%22",
        "w\\u00f6rd",
        "query-1234",
        "query%2D",
        "w\u{f6}rd",
        "token-of",
        &base64[12..],
        &base64_twice[24..],
        "login-user",
        "fragment-of",
        "0123456789abc",
    ] {
        let found = shown.find(secret).map(|at| &shown[shown.floor_char_boundary(at - 200)..]);
        assert_eq!(found, None, "{secret} is shown");
    }
    assert!(shown.contains("redirected to https://h/a"), "{shown}");
}

#[test]
fn secrets_of_a_profile_are_filled_in_everywhere_and_shown_nowhere() {
    let server = Server::start(|number, peer| {
        peer.read_request();
        if peer.request.starts_with("POST") {
            peer.send_note(peer.request.lines().next().unwrap());
            let host = peer.header("Host").unwrap();
            let body = json!({ "url": format!("ws://{host}"), "token": "given-by-the-server" });
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            peer.send((head + &body).as_bytes());
            return;
        }
        peer.send_note(peer.request.lines().next().unwrap());
        if number == 1 {
            peer.send(b"HTTP/1.1 403 Forbidden\r\n\r\nno canary-7f3a, no given-by-the-server");
            peer.end_stream();
            return;
        }
        let answer = peer.handshake_response();
        peer.send(&answer);
        for _ in 0..3 {
            let message = peer.read_text();
            peer.send_note(message);
        }
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let profile = json!({
        "about": "mine",
        "bootstrap": {
            "post": server.url().replace("ws:", "http:") + "/boot?key=${TEST_CANARY}",
            "url": "{/url}/${TEST_CANARY}?token={/token}",
        },
        "url": "ws://${TEST_CANARY}.invalid",
        "opening": [{ "op": "hello", "as": "${TEST_CANARY}" }],
        "subscribe": { "op": "subscribe", "args": "{topics}", "plain": "$${x}", "by": "${TEST_CANARY}" },
        "ping": { "message": { "ping": "${TEST_CANARY}" }, "interval": "100ms" },
    });
    let test = Test::with_source("ws://unused.invalid", json!({ "profile": "mine" }));
    let mut source = test.source();
    source.as_object_mut().unwrap().remove("url");
    source["profile_dir"] = json!(test.path("profiles"));
    let test = test.set("source", source).env("TEST_CANARY", CANARY);
    fs::create_dir(test.path("profiles")).unwrap();
    fs::write(test.path("profiles/mine.json"), profile.to_string()).unwrap();
    let recorder = test.start();
    assert_eq!(server.next_note(), format!("POST /boot?key={CANARY} HTTP/1.1"));
    let request = format!("GET /{CANARY}?token=given-by-the-server HTTP/1.1");
    assert_eq!(server.next_note(), request);
    assert_eq!(server.next_note(), format!("POST /boot?key={CANARY} HTTP/1.1"));
    assert_eq!(server.next_note(), request);
    assert_eq!(server.next_note(), format!("{{\"op\":\"hello\",\"as\":\"{CANARY}\"}}"));
    let subscription = server.next_note();
    assert!(subscription.contains(&format!("\"plain\":\"${{x}}\",\"by\":\"{CANARY}\"")));
    assert_eq!(server.next_note(), format!("{{\"ping\":\"{CANARY}\"}}"));
    recorder.wait_for_messages(1);
    let status = recorder.status();
    recorder.stop();
    let mut shown = shown_by(&test, &status);
    let resolved = test.command().args(["check", "--json"]).output().unwrap();
    shown += &String::from_utf8(resolved.stdout).unwrap();
    assert!(!shown.contains(CANARY) && !shown.contains("given-by-the-server"), "{shown}");
    assert!(shown.contains("\"by\": \"${TEST_CANARY}\""), "{shown}");
    // A variable that is not set is an error with its place.
    let unset = Test::with_source("ws://h.invalid", test.source()).set("source", test.source());
    let printed = String::from_utf8(unset.run_refused().stderr).unwrap();
    assert!(
        printed.contains("profiles/mine.json") && printed.contains("bootstrap.post"),
        "{printed}"
    );
    assert!(printed.contains("the environment variable `TEST_CANARY` is not set"), "{printed}");
}

#[test]
fn the_directory_of_the_archive_is_shown_by_every_command() {
    let test = Test::new("ws://127.0.0.1:1");
    let dir = test.output();
    let test = test.set("output_dir", json!("${TEST_DIR}")).env("TEST_DIR", dir.to_str().unwrap());
    let recorder = test.start();
    recorder.wait_for(&["disconnected"]);
    recorder.stop();
    for args in [["check"], ["archive"]] {
        let output = test.command().args(args).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains(dir.to_str().unwrap()), "{args:?}: {printed}");
    }
}

#[test]
fn values_of_variables_in_paths_are_shown_by_no_command() {
    let test = Test::new("ws://127.0.0.1:1");
    let dir = test.path(CANARY);
    fs::create_dir(&dir).unwrap();
    let below =
        |name: &str| json!(format!("{}/${{TEST_CANARY}}/{name}", test.dir.path().display()));
    let (socket, log, output) = (below("socket"), below("log"), below("output"));
    let test = test.set("status_socket", socket).set("log_file", log).set("output_dir", output);
    let test = test.env("TEST_CANARY", CANARY);
    let run = |args: &[&str]| {
        let output = test.command().args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    for printed in [run(&["check"]), run(&["check", "--json"]), run(&["status"])] {
        assert!(!printed.contains(CANARY), "{printed}");
        assert!(printed.contains("***") || printed.contains("${TEST_CANARY}"), "{printed}");
    }
    let recorder = test.start();
    recorder.stop();
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert!(!log.contains(CANARY) && log.contains("/***/socket"), "{log}");
    // An error at the start, too.
    fs::remove_dir_all(dir.join("output")).unwrap();
    fs::write(dir.join("output"), "no directory").unwrap();
    let printed = String::from_utf8(test.run_refused().stderr).unwrap();
    assert!(printed.contains("/***/") && !printed.contains(CANARY), "{printed}");
}

#[test]
fn a_configuration_whose_secrets_others_can_read_is_a_warning() {
    let keys = json!({
        "url": "ws://127.0.0.1:1/?token=abc",
        "headers": { "Authorization": "Bearer abc", "X-Plain": "x", "X-Api-Key": "${TEST_CANARY}" },
        "proxy": "http://me:secret@127.0.0.1:1",
    });
    let warnings = |test: &Test, mode: u32| {
        let config = test.config();
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
        let mut check = binary();
        let output = check.arg("check").arg("-config").arg(config).env("TEST_CANARY", CANARY);
        String::from_utf8(output.output().unwrap().stderr).unwrap()
    };
    let test = Test::with_source("ws://127.0.0.1:1", keys).env("TEST_CANARY", CANARY);
    for mode in [0o644, 0o640, 0o604] {
        let warning = warnings(&test, mode);
        assert!(warning.starts_with("warning: other users can read"), "{warning}");
        assert!(
            warning.contains(
                "secrets in `source.url`, `source.headers.Authorization`, `source.proxy`:"
            ),
            "{warning}"
        );
        assert!(warning.contains(&format!("mode {mode:04o}")) && warning.contains("chmod 600"));
    }
    assert_eq!(warnings(&test, 0o600), "");
    assert_ne!(warnings(&test, 0o644), "");
    let recorder = test.start();
    recorder.wait_for(&["WARN", "other users can read", "source.proxy"]);
    recorder.stop();
    // A key in the path of the URL, and so many places that not all are named.
    let key = "0123456789abcdef0123456789abcdef";
    let headers: serde_json::Map<_, _> =
        (0..2_000).map(|n| (format!("X-Token-{n}"), json!("value-of-a-header"))).collect();
    let keys = json!({ "headers": headers });
    let many = Test::with_source(&format!("ws://127.0.0.1:1/v3/{key}/x"), keys);
    let warning = warnings(&many, 0o644);
    assert!(warning.contains("`source.url`") && warning.len() < 2_000, "{warning}");
    assert!(warning.contains("and 1993 more places") && !warning.contains(key), "{warning}");
    // A file of a profile.
    let keys = json!({ "profile": "mine", "profile_dir": "${PROFILES}" });
    let test = Test::with_source("ws://127.0.0.1:1", keys);
    let profiles = test.path("profiles");
    let test = test.env("PROFILES", profiles.to_str().unwrap());
    fs::create_dir(&profiles).unwrap();
    let file = profiles.join("mine.json");
    let profile = json!({ "about": "mine", "subscribe": { "args": "{topics}", "apiKey": "abc" } });
    fs::write(&file, profile.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let recorder = test.start();
    recorder.stop();
    let log = test.log();
    assert!(
        log.contains("/mine.json` (mode 0644), which holds secrets in `subscribe.apiKey`:"),
        "{log}"
    );
    let no_secrets = Test::new("ws://127.0.0.1:1/?streams=a");
    assert_eq!(warnings(&no_secrets, 0o644), "");
}

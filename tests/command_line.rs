//! Commands, flags and exit codes.

use std::fs;
use std::process::Command;

use crate::harness::{Server, Test, binary, run};

fn words(output: &std::process::Output) -> (String, String) {
    (
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

#[test]
fn help_and_version_in_every_spelling() {
    for flag in ["-h", "-help", "--help"] {
        let output = run(&[flag]);
        let (help, _) = words(&output);
        assert!(output.status.success());
        for command in ["run", "status", "check", "init", "schema", "demo", "--config", "--debug"] {
            assert!(help.contains(command), "{command} is not in {help}");
        }
    }
    for flag in ["-V", "-version", "--version"] {
        let (version, _) = words(&run(&[flag]));
        assert_eq!(version, concat!("streamer ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn unknown_flags_and_commands_exit_with_code_2() {
    for args in [&["-cofnig", "x"][..], &["frobnicate"], &["--no-such"], &["run", "-status"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!words(&output).1.is_empty());
    }
    assert!(words(&run(&["-cofnig", "x"])).1.contains("did you mean `config`?"));
}

#[test]
fn every_way_to_start_it_records() {
    for args in [&["-config"][..], &["--config"], &["run", "-config"], &["run", "--config"]] {
        let server = Server::start(|_, peer| {
            peer.send_note(peer.stream.peer_addr().unwrap().to_string());
        });
        let test = Test::new(&server.url());
        let mut child = binary().args(args).arg(test.config()).spawn().unwrap();
        server.next_note();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        // A TERM ends the process even before it handles signals.
        child.wait().unwrap();
    }
}

#[test]
fn a_second_signal_exits_at_once_with_130() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        // The server reads the close and does not answer it.
        while peer.read_frame().is_some() {}
    });
    let test = Test::new(&server.url());
    let mut recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.signal("INT");
    recorder.wait_for(&["stopping"]);
    recorder.signal("INT");
    assert_eq!(recorder.wait().code(), Some(130));
}

#[test]
fn init_writes_a_configuration_that_is_valid_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.json");
    let path = file.to_str().unwrap();
    let output = run(&["init", "-config", path]);
    assert!(output.status.success(), "{:?}", words(&output));
    assert!(run(&["check", "-config", path]).status.success());
    let schema = fs::read_to_string(dir.path().join("config.schema.json")).unwrap();
    assert!(schema.contains("json-schema.org/draft/2020-12"));

    assert!(words(&output).0.contains(&format!("streamer check -config {path}")));

    fs::write(&file, "{}").unwrap();
    let output = run(&["init", "-config", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).1.contains("exists"), "{:?}", words(&output));
    assert_eq!(fs::read(&file).unwrap(), b"{}");

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("config.schema.json"), "{\"mine\":1}").unwrap();
    let file = other.path().join("config.json");
    assert!(run(&["init", "-config", file.to_str().unwrap()]).status.success());
    let kept = fs::read(other.path().join("config.schema.json")).unwrap();
    assert_eq!(kept, b"{\"mine\":1}");
}

#[test]
fn check_prints_what_would_run_and_creates_no_file() {
    let test = Test::new("wss://example.org/v5?token=1");
    let config = test.config();
    let (text, _) = words(&run(&["check", "-config", config.to_str().unwrap()]));
    for part in ["is valid", "wss://example.org/v5 ", "publicTrade.BTCUSDT", "verbatim", "socket"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let output = run(&["check", "--json", "-config", config.to_str().unwrap()]);
    let resolved: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(resolved["source"]["type"], "websocket");
    assert_eq!(resolved["source"]["idle_timeout"], "1m");
    assert_eq!(resolved["source"]["subscribe"]["args"], "{topics}");
    assert_eq!(resolved["stages"][0]["type"], "verbatim");
    assert_eq!(resolved["sinks"][0]["sync_interval"], "1s");
    assert!(resolved.get("ws_url").is_none() && resolved.get("topic").is_none());
    assert!(!test.output().exists() && !test.path("log").exists());

    // The output is itself a configuration, which resolves to itself.
    fs::write(&config, &output.stdout).unwrap();
    let again = run(&["check", "--json", "-config", config.to_str().unwrap()]);
    assert_eq!(again.stdout, output.stdout);
}

#[test]
fn custom_profiles_are_listed_and_an_invalid_one_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.json"), r#"{"about": "x", "subscribe": "{topic}"}"#).unwrap();
    fs::write(dir.path().join("bad.json"), r#"{"about": "x"}"#).unwrap();
    let ask = |words: &[&str]| {
        let output = run(&[&["profiles", "--dir", dir.path().to_str().unwrap()], words].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, listed, wrong) = ask(&[]);
    assert!(listed.contains("\nmine ") || listed.starts_with("mine "), "{listed}");
    assert!(listed.contains("\nokx "));
    assert!(wrong.contains("bad.json") && wrong.contains("the key `subscribe` is missing"));
    assert_eq!(code, Some(1));
    assert_eq!(ask(&["mine"]).0, Some(0));
    let (code, _, wrong) = ask(&["bad"]);
    assert!(code == Some(1) && wrong.contains("bad.json"), "{wrong}");
}

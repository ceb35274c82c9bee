//! Snapshots of the texts that users read: help, errors, and the tables of the archive.
//!
//! `INSTA_UPDATE=always cargo test snapshots` accepts changed texts; the diff of `tests/snapshots`
//! shows them for review.

use std::path::Path;
use std::process::{Output, Stdio};

use insta::Settings;
use regex::Regex;

use crate::harness::binary;
use crate::old_archives::{Archive, NAMES};

/// Compares the text with the file `tests/snapshots/NAME.snap`.
fn assert_snapshot(name: &str, text: &str) {
    let mut settings = Settings::new();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, mask(text)));
}

/// Replaces what differs between runs: the version, and durations that end today.
fn mask(text: &str) -> String {
    let mut text = text.replace(env!("CARGO_PKG_VERSION"), "[version]");
    for (pattern, replacement) in [
        (r"\(goes on\) +\S+", "(goes on) [duration]"),
        (r"(\d+ not_running) \([^)]*\)", "$1 ([duration])"),
        (r"\S+ of (wall|stem) time", "[duration] of $1 time"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, replacement).into_owned();
    }
    // Lines that end in spaces would be a nuisance in the file.
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Runs the binary in a directory and returns all that it prints, with the command line above it.
fn transcript(dir: &Path, args: &[&str]) -> String {
    let mut command = binary();
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command.env_remove("COLUMNS").env("STREAMER_TEST_TOKEN", "s3cret");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let mut text = format!("$ streamer {}\n", args.join(" "));
    for part in [stdout, stderr] {
        text.push_str(&String::from_utf8(part).unwrap());
    }
    if !status.success() {
        text.push_str(&format!("exit code: {}\n", status.code().unwrap()));
    }
    text
}

/// Returns the names of all commands, out of the help.
fn commands(help: &str) -> Vec<&str> {
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split_once(' '));
    names.map(|(name, _)| name).filter(|name| !name.is_empty() && *name != "help").collect()
}

#[test]
fn help_of_the_program_and_of_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let help = transcript(dir.path(), &["--help"]);
    assert_snapshot("help", &help);
    let commands = commands(&help);
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let help = transcript(dir.path(), &[command, "--help"]);
        assert_snapshot(&format!("help_{command}"), &help);
    }
}

/// A configuration with several topics, stages and sinks.
const VALID: &str = r#"{
  "source": {
    "type": "websocket",
    "url": "wss://stream.bybit.com/v5/public/linear",
    "topics": ["publicTrade.BTCUSDT", "orderbook.50.BTCUSDT"],
    "headers": { "Authorization": "Bearer ${STREAMER_TEST_TOKEN}" }
  },
  "stages": [{ "type": "filter", "pointer": "/data", "exists": true }],
  "sinks": [{ "type": "jsonl", "output_dir": "output" }, { "type": "stdout", "required": false }],
  "status_socket": "streamer.sock",
  "archive": { "retention": { "max_age": "90d", "max_total_size": "20GiB" } }
}"#;

#[test]
fn check_of_valid_configurations() {
    let dir = tempfile::tempdir().unwrap();
    for (name, config) in [("short_form", "{}"), ("explicit_form", VALID)] {
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let text = transcript(dir.path(), &["check"]);
        assert_snapshot(&format!("check_{name}"), &text);
        let json = transcript(dir.path(), &["check", "--json"]);
        assert_snapshot(&format!("check_json_{name}"), &json);
    }
}

/// Invalid configurations, one of each kind of error.
const INVALID: [&str; 16] = [
    "",
    "[]",
    "{\n  \"topic\": }",
    "{\n  \"buffer_sise\": 10\n}",
    r#"{"buffer_size": "many"}"#,
    r#"{"buffer_size": 0}"#,
    r#"{"ws_url": "https://example.org"}"#,
    r#"{"overflow": "drop_newst"}"#,
    r#"{"log_max_size": "10mb"}"#,
    r#"{"shutdown_timeout": "5 minutes"}"#,
    r#"{"source": {"type": "websockt", "url": "wss://example.org"}}"#,
    r#"{"source": {"type": "websocket", "url": "wss://example.org", "profile": "krakn"}}"#,
    r#"{"stages": [{"type": "filter", "pointer": "data", "exists": true}]}"#,
    r#"{"stages": [{"type": "jq", "program": ".data["}]}"#,
    r#"{"archive": {"schedule": "0 77 * * * *"}}"#,
    r#"{"log_file": "${STREAMER_TEST_UNSET}"}"#,
];

#[test]
fn errors_of_invalid_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for config in INVALID {
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let errors = transcript(dir.path(), &["check"]);
        text.push_str(&format!("{config}\n{errors}\n"));
    }
    text.push_str(&transcript(dir.path(), &["check", "-config", "absent.json"]));
    assert_snapshot("check_errors", &text);
}

#[test]
fn errors_of_wrong_command_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for args in [
        &["-cofnig", "x"][..],
        &["frobnicate"],
        &["ls", "--dir", "absent"],
        &["ls", "--dir", ".", "-config", "config.json"],
        &["cat", "--dir", ".", "--from", "soon"],
        &["gaps", "--dir", ".", "--from", "now", "--to", "1h ago"],
        &["cat", "--dir", ".", "absent"],
        &["plugins", "filtr"],
        &["profiles", "krakn"],
        &["status", "-config", "absent.json"],
    ] {
        text.push_str(&transcript(dir.path(), args));
        text.push('\n');
    }
    assert_snapshot("command_line_errors", &text);
}

#[test]
fn tables_of_old_archives() {
    for command in ["ls", "gaps", "report", "verify"] {
        let mut text = String::new();
        for name in NAMES {
            let archive = Archive::copy_of(name);
            let printed = transcript(archive.path(), &[command, "--dir", "."]);
            text.push_str(&format!("# {name}\n{printed}\n"));
        }
        assert_snapshot(command, &text);
    }
}

#[test]
fn a_dry_run_and_a_run_of_the_archive_job() {
    let archive = Archive::copy_of("torn_tail");
    let mut text = String::new();
    for args in [&["archive", "--dir", ".", "--dry-run"][..], &["archive", "--dir", "."]] {
        text.push_str(&transcript(archive.path(), args));
        text.push('\n');
    }
    assert_snapshot("archive", &text);
}

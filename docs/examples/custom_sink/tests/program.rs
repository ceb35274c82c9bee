//! End-to-end tests of the program.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_custom-sink"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[test]
fn messages_from_stdin_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let counts = dir.path().join("counts.jsonl");
    let text = serde_json::json!({
        "source": { "type": "stdin", "topic_pointer": "/topic" },
        "sinks": [{ "type": "counts", "path": counts, "every": 60 }],
        "status_socket": null,
        "log_file": null,
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let mut running = program(&["run", "-config", config.to_str().unwrap()]).spawn().unwrap();
    let lines = "{\"topic\":\"a\"}\n{\"topic\":\"b\"}\n{\"topic\":\"a\"}\npong\n";
    running.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(counts).unwrap(), "{\"a\":2,\"b\":1,\"none\":1}\n");
}

#[test]
fn the_schema_and_the_list_of_plugins_include_the_sink() {
    let output = program(&["schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sinks = schema.pointer("/$defs/sink/oneOf").unwrap().as_array().unwrap();
    let counts = |sink: &&serde_json::Value| sink.pointer("/title").unwrap() == "counts";
    let counts = sinks.iter().find(counts).unwrap();
    assert!(counts.pointer("/properties/every/description").is_some());
    let output = program(&["plugins", "counts"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("Seconds between two lines"));
}

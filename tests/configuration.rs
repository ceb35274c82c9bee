//! Valid and invalid configurations, on which the program and the schema agree.

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::harness::{Test, WAIT_LIMIT, run};

/// Invalid configurations, each with the place and the words that the error must contain.
const BAD: &[(&str, &[&str])] = &[
    ("", &["not valid JSON"]),
    ("[]", &[":1:1", "is an object"]),
    ("{\"topic\": }", &[":1:11", "not valid JSON"]),
    (
        "{\n  \"buffer_sise\": 10\n}",
        &[":2:3", "unknown key `buffer_sise`, did you mean `buffer_size`?"],
    ),
    ("{\"buffer_size\": \"many\"}", &["buffer_size", "invalid type"]),
    ("{\"buffer_size\": 0}", &["buffer_size", "from 1 to"]),
    ("{\"buffer_size\": -1}", &["buffer_size", "a whole number that is not negative"]),
    ("{\"topic\": \"\"}", &["topic", "is empty"]),
    ("{\"ws_url\": \"\"}", &["ws_url", "is empty"]),
    ("{\"ws_url\": \"https://example.org\"}", &["ws_url", "must begin with `ws://` or `wss://`"]),
    ("{\"output_dir\": \"\"}", &["output_dir", "is empty"]),
    ("{\"overflow\": \"drop_newst\"}", &["overflow", "did you mean `drop_newest`?"]),
    ("{\"log_max_size\": \"10mb\"}", &["log_max_size", "KiB"]),
    ("{\"log_to_stdout\": \"no\"}", &["log_to_stdout", "invalid type"]),
    ("{\"on_event\": {}}", &["on_event", "the key `command` is missing"]),
    ("{\"on_event\": {\"command\": \"mail ops\"}}", &["on_event.command", "[\"mail\",\"ops\"]"]),
    (
        "{\"on_event\": {\"command\": [\"true\"], \"events\": [\"dwn\"]}}",
        &["on_event.events[0]", "did you mean `down`?"],
    ),
    ("{\"on_event\": {\"command\": [\"true\"], \"events\": []}}", &["on_event.events", "is empty"]),
    ("{\"on_event\": {\"command\": []}}", &["on_event.command", "is empty"]),
    ("{\"log_format\": \"jsn\"}", &["log_format", "did you mean `json`?"]),
    ("{\"log_level\": \"warning\"}", &["log_level", "did you mean `warn`?"]),
    ("{\"status_interval\": 1.5}", &["status_interval"]),
    (
        "{\"ws_url\": \"ws://h\", \"source\": {\"type\": \"websocket\", \"url\": \"ws://h\"}}",
        &["`ws_url` and `source` exclude each other"],
    ),
    (
        "{\"topic\": \"t\", \"source\": {\"type\": \"websocket\", \"url\": \"ws://h\"}}",
        &["`topic` and `source` exclude each other"],
    ),
    (
        "{\"output_dir\": \"o\", \"sinks\": [{\"type\": \"jsonl\"}]}",
        &["`output_dir` and `sinks` exclude each other"],
    ),
    ("{\"source\": null}", &["source", "is null"]),
    ("{\"sinks\": []}", &["sinks", "is empty"]),
    ("{\"sinks\": [{\"type\": \"jsnl\"}]}", &["sinks[0].type", "did you mean `jsonl`?"]),
    ("{\"sinks\": [{\"output_dir\": \"o\"}]}", &["sinks[0]", "`type` is missing"]),
    (
        "{\"sinks\": [\n{\"type\": \"jsonl\", \"sync_intervall\": \"1s\"}]}",
        &[":2:", "sinks[0].sync_intervall", "did you mean `sync_interval`?"],
    ),
    ("{\"stages\": [{\"type\": \"verbatim\", \"x\": 1}]}", &["stages[0].x", "unknown key `x`"]),
    ("{\"source\": {\"type\": \"websocket\"}}", &["source", "`url` is needed"]),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"idle_timeout\": \"30\"}}",
        &["source.idle_timeout", "needs a unit"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"tls\": {\"ca\": \"x\"}}}",
        &["source.tls.ca", "unknown key `ca`"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"subscribe\": 5}}",
        &["source.subscribe", "neither a message template"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"control\": \"drop\"}}",
        &["source.control", "known: write, skip"],
    ),
    (
        "{\"archive\": {\"scedule\": \"0 5 * * * *\"}}",
        &["archive.scedule", "did you mean `schedule`?"],
    ),
    (
        "{\"archive\": {\"schedule\": \"5 * * * *\"}}",
        &["archive.schedule", "write the seconds in front"],
    ),
    (
        "{\"archive\": {\n\"compression\": {\"level\": 22}}}",
        &[":2:", "archive.compression.level", "from 1 to 19"],
    ),
    (
        "{\"archive\": {\"compression\": {\"threads\": 0}}}",
        &["archive.compression.threads", "from 1 to 64"],
    ),
    (
        "{\"archive\": {\"retention\": {\"max_age\": \"90 days\"}}}",
        &["archive.retention.max_age", "needs a unit"],
    ),
    (
        "{\"archive\": {\"retention\": {\"max_size\": \"1GiB\"}}}",
        &["archive.retention.max_size", "did you mean"],
    ),
    (
        "{\n\"url\": \"ws://h\"}",
        &[":2:1: url: ", "belongs to the source `websocket`: write it in `source`"],
    ),
    (
        "{\"partition\": \"topic\"}",
        &["belongs to the sink `jsonl`: write it in one of the `sinks`"],
    ),
    (
        "{\"stages\": [{\"type\": \"exec\",\n\"command\": \"sed -u\"}]}",
        &[":2:1: stages[0].command: ", "as a list: [\"sed\",\"-u\"]"],
    ),
    (
        "{\"pipelines\": {\n\"a\": {\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\"}}}}",
        &[":2:1: pipelines.a: ", "the key `sinks` is missing"],
    ),
    ("{\"archive\": []}", &["archive", "is an object"]),
    ("{\"archive\": 5}", &["archive", "invalid type"]),
];

/// Invalid configurations that no schema can refuse.
const BAD_BEYOND_SCHEMA: &[(&str, &[&str])] = &[
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"reconnect\": {\"first\": \"10ms\"}}}",
        &["reconnect.first", "from 100ms to 1h"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"reconnect\": {\"max\": \"400ms\"}}}",
        &["reconnect.max", "`reconnect.first`"],
    ),
    ("{\"archive\": {\"schedule\": \"0 0 0 30 2 *\"}}", &["archive.schedule", "has no occurrence"]),
    (
        "{\"archive\": {\"schedule\": \"0 77 * * * *\"}}",
        &["archive.schedule", "is not a cron expression"],
    ),
    (
        "{\"archive\": {\"retention\": {\"max_age\": 0}}}",
        &["archive.retention.max_age", "at least 1h"],
    ),
    ("{\"topic\": \"a\",\n \"topic\": \"b\"}", &["topic", "stands here twice"]),
    ("{\"buffer_bytes\": \"1kB\"}", &["buffer_bytes", "at least 64KiB"]),
    ("{\"shutdown_timeout\": 0}", &["shutdown_timeout", "more than 0"]),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"topics\": [\"a\"], \"idle_timeout\": \"1ms\"}}",
        &["idle_timeout", "at least 100ms"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"subscribe\": {\"op\": \"x\"}}, \"sinks\": [{\"type\": \"jsonl\", \"stem\": \"s\"}]}",
        &["source", "no place for the topics"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"topics\": [\"a\"], \"tls\": {\"ca_file\": \"x\"}}}",
        &["source", "`tls` is for `wss://`"],
    ),
    ("{\"ws_url\": \"wss://\"}", &["ws_url"]),
    ("{\"ws_url\": \"ws://host:port\"}", &["ws_url"]),
    ("{\"ws_url\": \"ws://user:pass@h\"}", &["Authorization"]),
    ("{\"topic\": \"${STREAMER_TEST_UNSET}\"}", &["topic", "`STREAMER_TEST_UNSET` is not set"]),
    ("{\"buffer_sise\": 1, \"ws_url\": \"ws://h\", \"source\": {}}", &["exclude", "buffer_sise"]),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"topics\": [\"a\", \"b\"], \"topic_pointer\": null}}",
        &["sinks[0]", "write its `topic_pointer`"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"topics\": [\"a\"], \"headers\": {\"a b\": \"c\"}}}",
        &["source", "`a b` is not a valid header name"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"topics\": [\"a\"], \"headers\": {\"k\": \"a\\nb\"}}}",
        &["source", "value of `k`"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"wss://h\", \"topics\": [\"a\"], \"tls\": {\"ca_file\": \"/no/such\"}}}",
        &["tls.ca_file", "/no/such"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"topics\": [\"a\"], \"read_pacing\": \"2s\"}}",
        &["read_pacing", "at most 1s"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\",\n\"url\": \"ftp://h\"}}",
        &[":2:1: source.url: `ftp://h` is not a WebSocket URL"],
    ),
    (
        "{\"sinks\": [{\"type\": \"jsonl\",\n\"mark_interval\": \"1ms\"}]}",
        &[":2:1: sinks[0].mark_interval: ", "at least 1s"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\",\n\"profile\": \"bybitt\"}}",
        &[":2:1: source.profile: there is no profile `bybitt`, did you mean `bybit`?"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\", \"topics\": [\"a\",\n\"a\"]}}",
        &[":2:1: source.topics[1]: ", "which occurs in the list before"],
    ),
    (
        "{\"source\": {\"type\": \"websocket\", \"url\": \"ws://h\",\n\"profile_dir\": \"/no/such\"}}",
        &[":2:1: source.profile_dir: cannot read `/no/such`", "No such file"],
    ),
];

fn read_file(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(&read_file("schema/config.schema.json")).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Returns the exit code and the errors of `streamer check` for a configuration.
fn check(text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.json");
    fs::write(&file, text).unwrap();
    let output = run(&["check", "-config", file.to_str().unwrap()]);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn assert_refused(bad: &[(&str, &[&str])]) {
    for (text, words) in bad {
        let (code, message) = check(text);
        assert_eq!(code, Some(2), "{text}\n{message}");
        assert!(message.contains("bad.json"), "{message}");
        for word in *words {
            assert!(message.contains(word), "no {word:?} in the message for {text}:\n{message}");
        }
    }
}

#[test]
fn every_mistake_is_refused_with_its_place_and_a_remedy() {
    assert_refused(BAD);
    assert_refused(BAD_BEYOND_SCHEMA);
}

#[test]
fn the_schema_refuses_the_same_mistakes() {
    let validator = validator();
    for (text, _) in BAD {
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            assert!(!validator.is_valid(&value), "the schema accepts {text}");
        }
    }
}

#[test]
fn the_example_configuration_and_every_json_in_the_readme_are_valid() {
    let validator = validator();
    let readme = read_file("README.md");
    let mut examples = vec![read_file("config.json")];
    let blocks = readme.split("```json\n").skip(1);
    examples.extend(blocks.map(|block| block.split("```").next().unwrap().to_owned()));
    assert!(examples.len() >= 3, "the README has examples");
    for example in examples {
        let value: Value =
            serde_json::from_str(&example).unwrap_or_else(|e| panic!("{e}: {example}"));
        let errors: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {example}");
        // `${…}` needs a value.
        let example = example.replace("${EXCHANGE_TOKEN}", "x");
        let (code, message) = check(&example);
        assert_eq!(code, Some(0), "{message}\n{example}");
    }
}

#[test]
fn missing_keys_have_their_documented_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty.json");
    fs::write(&file, "{}").unwrap();
    let output = run(&["check", "--json", "-config", file.to_str().unwrap()]);
    let resolved: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of_the_example: Value = serde_json::from_str(&read_file("config.json")).unwrap();
    for key in ["buffer_size", "status_interval", "log_file", "log_to_stdout", "status_socket"] {
        assert_eq!(resolved[key], of_the_example[key], "{key}");
    }
    assert_eq!(resolved["source"]["url"], of_the_example["ws_url"]);
    assert_eq!(resolved["source"]["topics"], json!([of_the_example["topic"]]));
    assert_eq!(resolved["sinks"][0]["output_dir"], of_the_example["output_dir"]);
}

#[test]
fn every_key_of_the_schema_is_described() {
    fn walk(schema: &Value, path: &str) {
        if let Some(properties) = schema["properties"].as_object() {
            for (key, value) in properties {
                let path = format!("{path}.{key}");
                let described = value.get("description").is_some()
                    || value.get("const").is_some()
                    || value.get("enum").is_some();
                assert!(described, "{path} has no description");
                walk(value, &path);
            }
        }
        for list in ["oneOf", "anyOf"] {
            for (index, part) in schema[list].as_array().into_iter().flatten().enumerate() {
                walk(part, &format!("{path}[{index}]"));
            }
        }
        if schema.get("items").is_some() {
            walk(&schema["items"], &format!("{path}[]"));
        }
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            walk(definition, name);
        }
    }
    walk(&serde_json::from_str(&read_file("schema/config.schema.json")).unwrap(), "");
}

#[test]
fn a_missing_configuration_file_is_named_with_a_remedy() {
    let output = run(&["-config", "/no/such/config.json"]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("/no/such/config.json") && words.contains("streamer init"), "{words}");
}

#[test]
fn a_path_for_a_shell_is_an_error_and_makes_no_directory() {
    let source = json!({ "type": "websocket", "url": "wss://127.0.0.1:1", "topics": ["t"] });
    let with = |keys: Value| {
        let mut section = source.clone();
        section.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        json!({ "source": section })
    };
    let exec = |program: &str| json!({ "stages": [{ "type": "exec", "command": [program] }] });
    let tilde = "begins with `~`";
    for (config, key, words) in [
        (json!({ "output_dir": "~/data" }), "output_dir", tilde),
        (json!({ "output_dir": "$HOME/data" }), "output_dir", "`${HOME}`"),
        (json!({ "sinks": [{ "type": "jsonl", "output_dir": "~user/x" }] }), "output_dir", tilde),
        (json!({ "log_file": "~/log" }), "log_file", tilde),
        (json!({ "status_socket": "/run/$USER/s" }), "status_socket", "`${USER}`"),
        (with(json!({ "tls": { "ca_file": "~/ca.pem" } })), "tls.ca_file", tilde),
        (with(json!({ "profile_dir": "~/profiles" })), "profile_dir", tilde),
        (json!({ "source": { "type": "file", "paths": ["/a", "~/b"] } }), "paths", tilde),
        (exec("~/bin/x"), "command", tilde),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        let mut check = crate::harness::binary();
        let output = check.args(["check", "-config"]).arg(&file).current_dir(dir.path()).output();
        let output = output.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{config}: {error}");
        assert!(error.contains(words) && error.contains(key), "{config}: {error}");
        let mut run = crate::harness::binary();
        let ended = run.arg("-config").arg(&file).current_dir(dir.path()).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{config}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{config}");
    }
    // A shell leaves it after an equals sign.
    let dir = tempfile::tempdir().unwrap();
    let mut demo = crate::harness::binary();
    let output = demo.args(["demo", "--dir=~/x"]).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains(tilde));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn eighty_thousand_topics_are_checked_in_linear_time() {
    let topics: Vec<String> = (0..80_000).map(|number| format!("publicTrade.C{number}")).collect();
    // On one connection, and over many of them.
    for topics_per_connection in [0, 50] {
        let keys = json!({ "topics": topics, "topics_per_connection": topics_per_connection });
        let test = Test::with_source("ws://127.0.0.1:1", keys);
        // A step for each pair of topics takes minutes, a step for each topic takes a second.
        let mut bounded = std::process::Command::new("timeout");
        bounded.args(["-s", "KILL", &WAIT_LIMIT.as_secs().to_string()]);
        bounded.args([env!("CARGO_BIN_EXE_streamer"), "check", "-config"]).arg(test.config());
        let output = bounded.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains("and 79990 more"), "{printed}");
    }
}

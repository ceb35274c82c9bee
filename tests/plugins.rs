//! The plugins in the real recorder.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{RunningExchange, TOPIC, Test, binary, run, split_answers};

/// Runs a recorder with these sections until its source has ended, and returns its output.
fn run_with(dir: &Path, source: Value, stages: Value, sinks: Value, input: &[u8]) -> Output {
    let config = dir.join("config.json");
    let text = json!({
        "source": source,
        "stages": stages,
        "sinks": sinks,
        "status_socket": null,
        "log_file": dir.join("log"),
    });
    fs::write(&config, text.to_string()).unwrap();
    let mut child = binary()
        .args(["run", "-config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A recorder that refuses its configuration closes the pipe unread.
    drop(writer.join().unwrap());
    output
}

/// Returns the lines on stdout for this input on stdin.
fn pipe_through(stages: Value, input: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let stdin = json!({ "type": "stdin" });
    let stdout = json!([{ "type": "stdout" }]);
    let output = run_with(dir.path(), stdin, stages, stdout, input.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn without_a_stage_bytes_pass_unchanged() {
    let input = "{\"a\": 1.10 }\n\n not json \u{e9}\r\nlast without a feed";
    assert_eq!(pipe_through(json!([]), input), format!("{input}\n"));
    assert_eq!(pipe_through(json!([{ "type": "verbatim" }]), input), format!("{input}\n"));
}

#[test]
fn filters_in_a_row_combine() {
    let input = "{\"s\":\"A\",\"n\":1}\n{\"s\":\"A\",\"n\":2}\n{\"s\":\"B\",\"n\":1}\npong\n";
    let stages = json!([
        { "type": "filter", "pointer": "/s", "matches": "^[AB]$" },
        { "type": "filter", "pointer": "/s", "equals": "B", "keep": false },
        { "type": "filter", "pointer": "/n", "in": [2, 3] },
    ]);
    assert_eq!(pipe_through(stages, input), "{\"s\":\"A\",\"n\":2}\n");
}

#[test]
fn jq_and_stamp_change_lines_and_what_they_fail_on_stays() {
    let input = "{\"data\":[{\"p\":1.10},{\"p\":2}]}\npong\n";
    let stages = json!([{ "type": "jq", "program": ".data[]" }, { "type": "stamp", "key": "t" }]);
    let out = pipe_through(stages, input);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("{\"t\":1") && lines[0].ends_with(",\"p\":1.10}"), "{out}");
    assert!(lines[1].ends_with(",\"p\":2}"));
    assert_eq!(lines[2], "pong");
}

#[test]
fn dedup_and_sample_drop_messages() {
    assert_eq!(pipe_through(json!([{ "type": "dedup" }]), "a\nb\na\nc\nb\n"), "a\nb\nc\n");
    let input: String = (0..10).map(|n| format!("{n}\n")).collect();
    assert_eq!(pipe_through(json!([{ "type": "sample", "every": 4 }]), &input), "0\n4\n8\n");
}

#[test]
fn an_exec_stage_processes_every_line_before_the_end() {
    let input: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    let stages = json!([{ "type": "exec", "command": ["sed", "-u", "s/$/!/"] }]);
    assert_eq!(pipe_through(stages, &input), input.replace('\n', "!\n"));
}

#[test]
fn what_is_refused_is_set_aside_beside_the_hour_and_no_glob_takes_it_for_data() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let source = json!({ "type": "stdin", "topics": ["t"] });
    let sinks = json!([{ "type": "jsonl", "output_dir": output }]);
    let stages = json!([
        { "type": "validate" },
        { "type": "stamp", "key": "t", "on_error": "reject" },
    ]);
    let ended = run_with(dir.path(), source, stages, sinks, b"{\"a\":1}\npo\"ng\n[1]\n");
    assert!(ended.status.success());
    let mut found: Vec<_> =
        fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let with = |extension: &str| {
        found.iter().find(|path| path.extension().is_some_and(|e| e == extension)).unwrap()
    };
    let lines = fs::read_to_string(with("jsonl")).unwrap();
    assert!(lines.starts_with("{\"t\":1") && lines.ends_with(",\"a\":1}\n"), "{lines}");
    assert_eq!(lines.lines().count(), 1);
    let rejects = fs::read_to_string(with("rejects")).unwrap();
    let rejects: Vec<Value> =
        rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rejects[0]["data"], "po\"ng");
    assert_eq!(rejects[0]["stage"], "stages[0] (validate)");
    assert_eq!(rejects[1]["data"], "[1]");
    assert_eq!(rejects[1]["error"], "the message is no object");
    let journal = fs::read_to_string(with("journal")).unwrap();
    assert!(journal.contains("\"event\":\"rejected\",\"messages\":2"), "{journal}");
}

#[test]
fn a_file_source_replays_an_archive_unchanged() {
    let exchange = RunningExchange::start(ExchangeOptions {
        count: Some(30_000),
        ..ExchangeOptions::default()
    });
    let test = Test::new(&exchange.url);
    let recorder = test.start();
    recorder.wait_for_messages(30_001);
    recorder.stop();
    exchange.stop();
    let plain = test.files();
    let recorded = test.recorded();
    let packed = test.path("copy.jsonl.zst");
    // An hour that was sealed twice has two frames.
    let (first, second) = recorded.split_at(1_000_003);
    let frames = [first, second].map(|part| zstd::encode_all(part, 1).unwrap());
    fs::write(&packed, frames.concat()).unwrap();
    for paths in [plain, vec![packed]] {
        let source = json!({ "type": "file", "paths": paths });
        let output =
            run_with(test.dir.path(), source, json!([]), json!([{ "type": "stdout" }]), b"");
        assert!(output.status.success());
        assert!(output.stdout == recorded);
    }
}

#[test]
fn a_truncated_archive_is_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("torn.jsonl.zst");
    let frame = zstd::encode_all(&vec![b'x'; 100_000][..], 1).unwrap();
    fs::write(&path, &frame[..frame.len() / 2]).unwrap();
    let source = json!({ "type": "file", "paths": [path] });
    let output = run_with(dir.path(), source, json!([]), json!([{ "type": "stdout" }]), b"");
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("torn.jsonl.zst"), "{words}");
}

#[test]
fn an_exec_source_is_recorded_and_restarted_when_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    // The program fails the first time.
    let script = format!("echo run; test -e {0} || {{ touch {0}; exit 1; }}", mark.display());
    let command = json!(["sh", "-c", script]);
    let source = json!({ "type": "exec", "command": command, "restart": false });
    let output = run_with(dir.path(), source, json!([]), json!([{ "type": "stdout" }]), b"");
    assert!(output.status.success());
    assert_eq!(output.stdout, b"run\nrun\n");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("exited") && log.contains("exit status: 1"), "{log}");
}

#[test]
fn a_line_that_is_not_utf8_is_left_out_and_logged_with_what_to_do() {
    let lines = b"good\n\xFF\xFE bad\n\x1F\x8B\ngood\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    fs::write(&path, lines).unwrap();
    for source in [
        json!({ "type": "stdin" }),
        json!({ "type": "file", "paths": [&path] }),
        json!({ "type": "exec", "command": ["cat", &path], "restart": false }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let sinks = json!([{ "type": "stdout" }]);
        let output = run_with(dir.path(), source.clone(), json!([]), sinks, lines);
        // The end of a file is the end of what was to be read.
        let is_file = source["type"] == "file";
        assert_eq!(output.status.success(), !is_file, "{source}");
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(words.contains("2 lines are left out"), is_file, "{words}");
        assert_eq!(words.contains(&format!("line 2 of `{}`", path.display())), is_file, "{words}");
        assert_eq!(output.stdout, b"good\ngood\n", "{source}");
        let log = fs::read_to_string(dir.path().join("log")).unwrap();
        let logged: Vec<_> =
            log.lines().filter(|line| line.contains("messages are left out")).collect();
        let [line] = logged.as_slice() else { panic!("{source}: {log}") };
        assert!(line.contains("messages=2 kept=2") && line.contains("UTF-8"), "{line}");
    }
}

#[test]
fn every_sink_gets_every_message_and_has_its_own_counters() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let source = json!({ "type": "stdin", "topics": ["t"] });
    let sinks = json!([
        { "type": "jsonl", "output_dir": dir.path().join("output") },
        { "type": "exec", "command": ["sh", "-c", format!("cat > {}", copy.display())] },
        { "type": "stdout" },
    ]);
    let input: String = (0..20_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let output = run_with(dir.path(), source, json!([]), sinks, input.as_bytes());
    assert!(output.status.success());
    assert!(output.stdout == input.as_bytes() && fs::read(copy).unwrap() == input.as_bytes());
    let config = dir.path().join("config.json");
    let cat = run(&["cat", "-config", config.to_str().unwrap()]);
    assert!(cat.stdout == input.as_bytes());
}

#[test]
fn a_sink_that_is_not_required_holds_up_nobody() {
    // One sink dies, one never reads, and the directory of one cannot be created.
    let exchange = RunningExchange::start(ExchangeOptions {
        count: Some(50_000),
        ..ExchangeOptions::default()
    });
    let test = Test::new(&exchange.url).without("output_dir");
    let exec = |script: &str| json!({ "type": "exec", "command": ["sh", "-c", script], "required": false });
    let sinks = json!([
        exec("exit 1"),
        exec("exec sleep 1000"),
        { "type": "jsonl", "output_dir": "/proc/no/such", "required": false },
        { "type": "jsonl", "output_dir": test.output() },
    ]);
    let test = test.set("sinks", sinks).set("buffer_bytes", json!("1MiB"));
    let recorder = test.start();
    let status = recorder.wait_until(|status| status["messages"].as_u64() > Some(50_000));
    let plugins = status["pipelines"]["main"]["plugins"].as_array().unwrap().clone();
    let of = |name: &str| plugins.iter().find(|plugin| plugin["name"] == name).unwrap().clone();
    assert_eq!(of("sinks[3] (jsonl)")["given"], 50_001);
    assert!(of("sinks[1] (exec)")["counters"]["dropped"].as_u64() > Some(0), "{plugins:?}");
    recorder.stop();
    exchange.stop();
    let (found, _) = split_answers(&test.recorded());
    assert!(found == Market::new(TOPIC).lines(0..50_000));
}

#[test]
fn the_recorder_ends_when_its_stdout_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let text = json!({
        "source": { "type": "exec", "command": ["yes"] },
        "sinks": [{ "type": "stdout" }],
        "status_socket": null,
        "log_file": null,
    });
    fs::write(&config, text.to_string()).unwrap();
    let script =
        format!("{} run -config {} | head -n 1", env!("CARGO_BIN_EXE_streamer"), config.display());
    let output = std::process::Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .output()
        .unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (b"y\n".as_slice(), Some(1)));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the reader of stdout is gone"));
}

#[test]
fn every_plugin_is_listed_and_its_example_is_valid() {
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let listed = String::from_utf8(run(&["plugins"]).stdout).unwrap();
    let all = String::from_utf8(run(&["plugins", "--json"]).stdout).unwrap();
    let plugins: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(plugins.len(), 15);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for plugin in plugins {
        let kind = plugin["kind"].as_str().unwrap();
        let name = plugin["name"].as_str().unwrap();
        assert!(listed.contains(&format!("  {name} ")), "{name} is not in the list");
        assert!(plugin["summary"].as_str().unwrap().len() > 20);
        let example = plugin["example"].clone();
        let mut config = json!({
            "source": { "type": "stdin" },
            "stages": [],
            "sinks": [{ "type": "stdout" }],
        });
        match kind {
            "source" => config["source"] = example,
            "stage" => config["stages"] = json!([example]),
            _ => config["sinks"] = json!([example]),
        }
        assert!(schema.is_valid(&config), "{config}");
        let full = String::from_utf8(run(&["plugins", name]).stdout).unwrap();
        assert!(full.contains(&format!("{kind} {name}")) && full.contains("for example"));
        assert!(readme.contains(&format!("| `{name}` ")), "the README's tables lack `{name}`");
    }
    let unknown = run(&["plugins", "filtr"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("did you mean `filter`?"));
}

#[test]
fn lines_that_an_exec_sink_did_not_read_go_to_its_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let got = dir.path().join("got");
    // The first process reads one line and ends.
    let script = format!(
        "if test -e {0}; then exec cat >> {1}; fi; touch {0}; read -r l; echo \"$l\" >> {1}; exit 1",
        mark.display(),
        got.display()
    );
    let sinks = json!([{ "type": "exec", "command": ["sh", "-c", script] }]);
    let input: String = (0..100).map(|n| format!("{n}\n")).collect();
    let output =
        run_with(dir.path(), json!({ "type": "stdin" }), json!([]), sinks, input.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(got).unwrap(), input);
}

#[test]
fn lines_that_an_exec_sink_never_reads_fail_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let sinks = json!([{ "type": "exec", "command": ["sleep", "1000"], "timeout": "300ms" }]);
    let output = run_with(dir.path(), json!({ "type": "stdin" }), json!([]), sinks, b"1\n2\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("did not read 2 lines"));
}

#[test]
fn a_stop_leaves_unread_input_in_the_pipe_and_loses_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let got = dir.path().join("got");
    let slow = format!("while read -r x; do echo $x >> {}; done", got.display());
    let text = json!({
        "source": { "type": "stdin" },
        "sinks": [{ "type": "exec", "command": ["sh", "-c", slow] }],
        "buffer_size": 100,
        "status_socket": dir.path().join("socket"),
        "log_file": null,
    });
    fs::write(&config, text.to_string()).unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let mut child = binary()
        .args(["run", "-config"])
        .arg(&config)
        .stdin(reader.try_clone().unwrap())
        .spawn()
        .unwrap();
    let writing = std::thread::spawn(move || {
        for number in 0..300_000 {
            if writeln!(writer, "{number}").is_err() {
                break;
            }
        }
    });
    // The stop comes after the first recorded line.
    while fs::metadata(&got).map_or(0, |file| file.len()) == 0 {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let mut left = String::new();
    std::io::Read::read_to_string(&mut reader, &mut left).unwrap();
    writing.join().unwrap();
    let recorded = fs::read_to_string(got).unwrap();
    let last: u64 = recorded.lines().last().unwrap().parse().unwrap();
    assert_eq!(recorded.lines().count() as u64, last + 1, "in order, each once");
    // The recorder may have read the beginning of the first line that is left.
    let whole = left.split_once('\n').unwrap().1;
    let first: u64 = whole.lines().next().unwrap().parse().unwrap();
    assert!(first <= last + 3, "{last} was recorded, {first} is left");
}

#[test]
fn when_a_sink_is_gone_the_others_get_all_received_messages() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let config = dir.path().join("config.json");
    let text = json!({
        "source": { "type": "stdin", "topics": ["t"] },
        "sinks": [{ "type": "stdout" }, { "type": "jsonl", "output_dir": output }],
        "status_socket": null,
        "log_file": null,
    });
    fs::write(&config, text.to_string()).unwrap();
    let input: String = (0..5_000).map(|n| format!("{n}\n")).collect();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = binary()
        .args(["run", "-config"])
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(closed)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let cat = run(&["cat", "-config", config.to_str().unwrap()]);
    assert!(input.starts_with(std::str::from_utf8(&cat.stdout).unwrap()));
    assert!(cat.stdout.len() > input.len() / 2, "what came in the first reads");
}

#[test]
fn an_exec_stage_that_dies_between_batches_reports_the_lines_it_had_read() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    // The program ends while no batch is on its way.
    let exec = json!({ "type": "exec", "command": ["sh", "-c", "read -r x; exit 3"],
        "replies": "each", "on_error": "reject" });
    let stages = json!([exec, { "type": "filter", "pointer": "/x", "exists": false }]);
    let source = json!({ "type": "stdin", "topics": ["t"] });
    let sinks = json!([{ "type": "jsonl", "output_dir": output }]);
    let ended = run_with(dir.path(), source, stages, sinks, b"1\n2\n3\n");
    assert!(ended.status.success());
    let entries = fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path());
    let mut rejects = entries.filter(|path| path.extension().is_some_and(|e| e == "rejects"));
    let rejects = fs::read_to_string(rejects.next().unwrap()).unwrap();
    let stages: Vec<_> = rejects.lines().map(|l| l.contains("stages[0] (exec)")).collect();
    assert_eq!(stages, [true, true, true], "{rejects}");
}

#[test]
fn the_file_source_reads_gzip_and_refuses_what_it_cannot_read() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    // Several members, a name that says nothing, a byte order mark, a last line without end.
    let members = [gzip(b"\xef\xbb\xbf{\"n\":1}\n{\"n\":"), gzip(b"2}\n{\"n\":3}")].concat();
    let path = dir.path().join("old.log");
    let output = dir.path().join("output");
    let record = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        drop(fs::remove_dir_all(&output));
        let source = json!({ "type": "file", "paths": [path], "topics": ["t"] });
        let sinks = json!([{ "type": "jsonl", "output_dir": output }]);
        let ended = run_with(dir.path(), source, json!([]), sinks, b"");
        let mut lines = Vec::new();
        for entry in fs::read_dir(&output).into_iter().flatten() {
            let entry = entry.unwrap().path();
            if entry.extension().is_some_and(|extension| extension == "jsonl") {
                lines.extend(fs::read(entry).unwrap());
            }
        }
        (ended, lines)
    };
    let (ended, lines) = record(&members);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(lines, b"{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    let (ended, _) = record(&members[..members.len() - 4]);
    assert!(!ended.status.success(), "a member that is cut off");
    for (content, words) in [
        (b"\xfd7zXZ\0\0\x04".as_slice(), "xz -dc"),
        (b"BZh91AY&SY\0\0", "bzip2 -dc"),
        (b"\xff\xfe{\0}\0\n\0", "iconv -f UTF-16"),
    ] {
        let (ended, _) = record(content);
        assert_eq!(ended.status.code(), Some(2), "an error of the configuration");
        let error = String::from_utf8(ended.stderr).unwrap();
        assert!(error.contains(words) && error.contains("old.log"), "{error}");
    }
    // What is no UTF-8 is counted, and logged.
    let (ended, lines) = record(b"{\"n\":1}\n\xe9\n{\"n\":2}\n");
    assert_eq!(ended.status.code(), Some(1), "a line is left out");
    assert_eq!(lines, b"{\"n\":1}\n{\"n\":2}\n");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("not UTF-8"), "{log}");
}

#[test]
fn as_process_1_orphans_are_reaped_and_exit_statuses_kept() {
    let Some(wrapper) = crate::harness::as_process_1() else { return };
    // Each of the inner programs outlives the shell that started it. The message comes once none
    // of them is left in the process table.
    let script = "n=0; while [ $n -lt 20 ]; do (sleep 0.1 & ); n=$((n+1)); done; \
        until ! grep -q '^PPid:.1$' $(grep -l '^Name:.sleep' /proc/[0-9]*/status) /dev/null; \
        do :; done 2> /dev/null; echo '{\"reaped\":true}'; exit 0";
    let source = json!({ "type": "exec", "command": ["sh", "-c", script], "restart": false,
            "topics": ["t"] });
    let test = crate::harness::Test::new("ws://unused").wrapped(&wrapper);
    let test = test.without("ws_url").without("topic").set("source", source);
    let mut recorder = test.start();
    assert!(recorder.wait().success(), "the exit status of the program is known: {}", test.log());
    assert_eq!(test.recorded(), b"{\"reaped\":true}\n");
}

//! Trouble of one file: the others go on.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use serde_json::{Value, json};
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{RunningExchange, Server, TOPIC, Test, run, split_answers, tool};

const TRADES: u64 = 3_000;

/// Returns the Unix second at which the current hour begins.
fn current_hour() -> u64 {
    let now = Command::new("date").arg("+%s").output().unwrap().stdout;
    String::from_utf8(now).unwrap().trim().parse::<u64>().unwrap() / 3600 * 3600
}

/// Records three topics, of which the file of `C1` is in trouble, which `make` causes. Returns the
/// test and the last status.
fn record_with_trouble<T>(make: impl FnOnce(&Path) -> Option<T>) -> Option<(Test, Value)> {
    let exchange = RunningExchange::start(ExchangeOptions {
        count: Some(TRADES),
        ..ExchangeOptions::default()
    });
    let topics = ["publicTrade.C0", "publicTrade.C1", "publicTrade.C2"];
    let test = Test::with_source(&exchange.url, json!({ "topics": topics }));
    fs::create_dir(test.output()).unwrap();
    // The hour may change while the test runs.
    let hour = current_hour();
    let trouble = [hour, hour + 3600].map(|hour| format!("publicTrade.C1_{hour}.jsonl"));
    let _first = make(&test.output().join(&trouble[0]))?;
    let mut recorder = test.start();
    let lines_of = |topic: &str| {
        let count = |file: &std::path::PathBuf| {
            let text = fs::read_to_string(file).unwrap();
            text.lines().filter(|line| line.contains(topic)).count() as u64
        };
        let is_of = |file: &&std::path::PathBuf| {
            file.is_file() && file.file_name().unwrap().to_str().unwrap().starts_with(topic)
        };
        test.files().iter().filter(is_of).map(count).sum::<u64>()
    };
    let others = ["publicTrade.C0", "publicTrade.C2"];
    let status = recorder.wait_until(|status| {
        let written = others.iter().map(|topic| lines_of(topic)).sum::<u64>();
        status["stall"] != Value::Null && written >= TRADES / 3 * 2 - 2
    });
    assert!(status["stall"]["error"].as_str().unwrap().contains(&trouble[0]), "{status:#}");
    recorder.wait_for(&["the file cannot be written", "publicTrade.C1"]);
    recorder.signal("TERM");
    assert_eq!(recorder.wait().code(), Some(1), "messages were lost");
    exchange.stop();
    let gaps = test.query("gaps");
    let dropped: Vec<_> = gaps.iter().filter(|gap| gap["kind"] == "dropped").collect();
    let [dropped] = dropped.as_slice() else { panic!("{gaps:#?}") };
    assert_eq!(
        (&dropped["stem"], &dropped["cause"]),
        (&json!("publicTrade.C1"), &json!("unwritable"))
    );
    assert!(dropped["messages"].as_u64().unwrap() >= TRADES / 3 - 2, "{dropped:#}");
    assert!(dropped["detail"].as_str().unwrap().contains(&trouble[0]), "{dropped:#}");
    let stalled = gaps.iter().filter(|gap| gap["kind"] == "stalled");
    assert!(
        stalled.clone().count() == 1 && stalled.clone().all(|gap| gap["stem"] == "publicTrade.C1")
    );
    Some((test, status))
}

#[test]
fn a_directory_at_the_name_of_a_file_stops_only_its_topic() {
    record_with_trouble(|path| fs::create_dir(path).ok()).unwrap();
}

#[test]
fn a_fifo_at_the_name_of_a_file_stops_only_its_topic() {
    record_with_trouble(|path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        Some(())
    })
    .unwrap();
}

/// A file that nobody may change, until this is dropped.
struct Immutable(std::path::PathBuf);

impl Drop for Immutable {
    fn drop(&mut self) {
        drop(Command::new("chattr").arg("-i").arg(&self.0).status());
    }
}

#[test]
fn an_immutable_file_stops_only_its_topic() {
    let made = record_with_trouble(|path| {
        fs::write(path, "{}\n").unwrap();
        let immutable = Command::new("chattr").arg("+i").arg(path).output();
        // Not every file system has the attribute, and not every user may set it.
        immutable.is_ok_and(|output| output.status.success()).then(|| Immutable(path.to_owned()))
    });
    drop(made);
}

/// A program that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_file_that_another_program_locks_stops_only_its_topic() {
    let Some(_) = tool("flock") else { return };
    record_with_trouble(|path| {
        fs::write(path, "{}\n").unwrap();
        let mut flock = Command::new("flock");
        flock.arg("--no-fork").arg(path).args(["sh", "-c", "echo locked; exec sleep 600"]);
        let mut child = flock.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut said = [0; 7];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        Some(Killed(child))
    })
    .unwrap();
}

/// Returns a shell that limits the size of files and becomes the program that follows.
fn file_size_limit(kib: u64) -> [String; 4] {
    // `ulimit -f` of a POSIX shell counts blocks of 512 bytes.
    let script = format!("ulimit -f {}; exec \"$@\"", kib * 2);
    ["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
}

/// Returns the number of bytes of the files that exist.
fn recorded_bytes(files: &[std::path::PathBuf]) -> usize {
    files.iter().filter_map(|path| fs::read(path).ok()).map(|bytes| bytes.len()).sum()
}

#[test]
fn files_that_reach_the_largest_size_are_continued_and_sealed_as_one() {
    let exchange = RunningExchange::start(ExchangeOptions {
        count: Some(5_000),
        ..ExchangeOptions::default()
    });
    let limit = file_size_limit(256);
    let test = Test::new(&exchange.url)
        .wrapped(&limit.each_ref().map(String::as_str))
        .set("log_file", json!(""));
    let recorder = test.start();
    recorder.wait_for_messages(5_001);
    recorder.wait_for(&["the file can take no more lines", "part=1"]);
    let status = recorder.status();
    assert_eq!((&status["dropped"], &status["stall"]), (&json!(0), &Value::Null));
    recorder.stop();
    exchange.stop();
    let expected = Market::new(TOPIC).lines(0..5_000);
    // The names of the parts sort before that of the last file.
    let (recorded, _) = split_answers(&test.recorded());
    assert!(recorded == expected, "{:?}", test.files());
    assert!(test.files().len() >= 4, "{:?}", test.files());
    let config = test.config();
    let config = config.to_str().unwrap();
    let (printed, _) = split_answers(&run(&["cat", "-config", config]).stdout);
    assert!(printed == expected);
    assert_eq!(test.gaps(), Vec::<String>::new());
    let verified = run(&["verify", "-config", config]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    // Somebody removes a part of it.
    let files = test.files();
    let part = files.iter().find(|path| path.to_str().unwrap().ends_with(".2.jsonl")).unwrap();
    let removed = fs::read(part).unwrap();
    fs::remove_file(part).unwrap();
    let name = part.file_name().unwrap().to_str().unwrap();
    let cat = run(&["cat", "-config", config]);
    assert_eq!(cat.status.code(), Some(1));
    assert_eq!(cat.stdout.len(), recorded_bytes(&files));
    let told = String::from_utf8(cat.stderr).unwrap();
    assert!(told.contains(name), "{told}");
    let verify = run(&["verify", "-config", config]);
    let told = String::from_utf8(verify.stdout).unwrap();
    assert_eq!(verify.status.code(), Some(1));
    assert!(told.contains("BAD") && told.contains(name), "{told}");
    let gaps = test.query("gaps");
    let lost = gaps.iter().find(|gap| gap["cause"] == "lines_missing").unwrap();
    let lines = memchr::memchr_iter(b'\n', &removed).count();
    assert_eq!(lost["messages"], json!(lines), "{gaps:#?}");
    // With that of the time before the recording began.
    assert_eq!(test.query("ls")[0]["gaps"], json!(3));
    // The source `file` tells the same of what is cut off.
    let first = files.iter().find(|path| path.to_str().unwrap().ends_with(".1.jsonl")).unwrap();
    fs::write(first, "").unwrap();
    let source = json!({ "type": "file", "paths": [first] });
    let sinks = json!([{ "type": "stdout" }]);
    let again = json!({ "source": source, "sinks": sinks, "status_socket": "", "log_file": "" });
    let again_path = test.path("again.json");
    fs::write(&again_path, again.to_string()).unwrap();
    let read = run(&["run", "-config", again_path.to_str().unwrap()]);
    assert_eq!(read.status.code(), Some(1));
    let told = String::from_utf8(read.stderr).unwrap();
    assert!(told.contains("it was cut off"), "{told}");
}

#[test]
fn a_message_that_no_file_can_take_is_a_gap_and_the_others_are_written() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{\"before\":1}");
        for _ in 0..3 {
            peer.send_text(&format!("{{\"large\":\"{}\"}}", "x".repeat(100_000)));
            peer.send_text("{\"after\":1}");
        }
        peer.answer_until_end();
    });
    let limit = file_size_limit(64);
    let test = Test::new(&server.url()).wrapped(&limit.each_ref().map(String::as_str));
    let recorder = test.start();
    let status = recorder.wait_until(|status| status["dropped"] == 3 && status["messages"] == 4);
    assert_eq!(status["stall"], Value::Null, "{status:#}");
    recorder.stop();
    let after = "{\"after\":1}\n".repeat(3);
    assert_eq!(String::from_utf8(test.recorded()).unwrap(), format!("{{\"before\":1}}\n{after}"));
    let dropped = test.query("gaps");
    let dropped = dropped.iter().filter_map(|gap| gap["messages"].as_u64());
    assert_eq!(dropped.sum::<u64>(), 3);
    // Only the first of them tries a new file.
    assert!(test.files().len() <= 2, "{:?}", test.files());
}

#[test]
fn a_file_system_that_takes_no_byte_is_a_stall_a_gap_and_a_failed_run() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 500, ..ExchangeOptions::default() });
    let limit = file_size_limit(0);
    let test = Test::new(&exchange.url).wrapped(&limit.each_ref().map(String::as_str));
    let mut recorder = test.start();
    let status = recorder.wait_until(|status| status["stall"] != Value::Null);
    let error = status["stall"]["error"].as_str().unwrap();
    assert!(error.contains("File too large"), "{status:#}");
    assert!(status["dropped"].as_u64().unwrap() > 1, "{status:#}");
    recorder.signal("TERM");
    assert_eq!(recorder.wait().code(), Some(1), "messages were lost");
    exchange.stop();
    let gaps = test.query("gaps");
    assert!(gaps.len() == 1 && gaps[0]["kind"] == "unknown", "{gaps:#?}");
}

#[test]
fn a_journal_that_reaches_the_largest_size_is_continued() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let topics: Vec<_> = (0..1_500).map(|number| format!("a-rather-long-topic-{number}")).collect();
    let limit = file_size_limit(64);
    let source = json!({ "topics": topics });
    let test = Test::with_source(&server.url(), source).without("output_dir");
    let sink = json!({ "type": "jsonl", "output_dir": test.output(), "stem": "all" });
    let test = test.set("sinks", json!([sink])).without("log_file");
    let test = test.wrapped(&limit.each_ref().map(String::as_str));
    // The journal of the hour has the topics once for each run.
    for run in 1..=3 {
        let recorder = test.start();
        recorder.wait_for_messages(1);
        recorder.stop();
        assert_eq!(test.recorded(), "{}\n".repeat(run).as_bytes());
    }
    let gaps = test.gaps();
    assert!(gaps.iter().all(|gap| gap.starts_with("not_running stopped")), "{gaps:?}");
    let of_part = |path: fs::DirEntry| path.file_name().to_str().unwrap().ends_with(".1.journal");
    assert!(fs::read_dir(test.output()).unwrap().any(|entry| of_part(entry.unwrap())));
    let verified = run(&["verify", "-config", test.config().to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn rejected_messages_go_on_in_another_file_where_one_reaches_the_largest_size() {
    const MESSAGES: usize = 200;
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        for number in 0..MESSAGES {
            peer.send_text(&format!("{number} {}", "x".repeat(1_000)));
        }
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let limit = file_size_limit(64);
    let test = Test::new(&server.url()).without("log_file");
    let test = test.set("stages", json!([{ "type": "validate", "on_error": "reject" }]));
    let test = test.wrapped(&limit.each_ref().map(String::as_str));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
    let entries = fs::read_dir(test.output()).unwrap().map(|entry| entry.unwrap().path());
    let rejects: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "rejects")).collect();
    let texts = rejects.iter().map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(texts.map(|text| text.lines().count()).sum::<usize>(), MESSAGES, "{rejects:?}");
    assert!(rejects.len() > 3, "{rejects:?}");
    let gaps = test.query("gaps");
    assert!(gaps.iter().all(|gap| gap["kind"] == "not_running"), "{gaps:?}");
}

#[test]
fn an_hour_that_is_too_large_to_be_sealed_is_told_read_and_removed_by_age() {
    let test = Test::new("ws://127.0.0.1:1");
    fs::create_dir(test.output()).unwrap();
    let mut state = 1_u64;
    let mut expected = String::new();
    for name in ["t_3600.1.jsonl", "t_3600.2.jsonl", "t_3600.jsonl"] {
        let mut lines = String::new();
        while lines.len() < 60 << 10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            lines += &format!("{state:016x}\n");
        }
        fs::write(test.output().join(name), &lines).unwrap();
        expected += &lines;
    }
    let limit = file_size_limit(64);
    let archive = |test: &Test| {
        let mut command = Command::new(&limit[0]);
        command.args(&limit[1..]).arg(env!("CARGO_BIN_EXE_streamer"));
        let output = command.args(["archive", "-config"]).arg(test.config()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    for _ in 0..2 {
        let (is_success, text) = archive(&test);
        assert!(!is_success && text.contains("larger than a file may be"), "{text}");
        let config = test.config();
        let printed = run(&["cat", "t", "-config", config.to_str().unwrap()]).stdout;
        assert!(String::from_utf8(printed).unwrap() == expected);
    }
    let test = test.set("archive", json!({ "retention": { "max_age": "1h" } }));
    let (_, text) = archive(&test);
    assert!(text.contains("removed") && text.contains("THOUGH IT WAS NOT SEALED"), "{text}");
    let left: Vec<_> = fs::read_dir(test.output()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.to_str().unwrap().ends_with(".lock")), "{left:?}");
}

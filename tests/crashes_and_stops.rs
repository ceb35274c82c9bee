//! The journal covers every crash, stop and failure of the recorder.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};
use streamer::exchange::{ExchangeOptions, Market};
use streamer::time::{Clock, SystemClock, UnixNanos};

use crate::harness::{Recorder, RunningExchange, Server, TOPIC, Test, frame, run};
use crate::venues::{read_json, send_json, test_with_profile};

/// The number of times that the recorder is killed.
const KILLS: usize = 50;

#[test]
fn fifty_kills_lose_nothing_but_what_the_journal_names() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 50_000, ..ExchangeOptions::default() });
    let test = Test::new(&exchange.url).set("archive", json!({}));
    for kill in 0..KILLS {
        let recorder = test.start();
        // Every tenth recorder is killed before it is connected.
        if kill % 10 != 9 {
            recorder.wait_for_messages(fastrand::u64(1..5_000));
        }
        recorder.kill();
    }
    let recorder = test.start();
    recorder.wait_for_messages(1_000);
    recorder.stop();
    let sent = exchange.stop();
    let cat = run(&["cat", "-config", test.config().to_str().unwrap()]).stdout;
    assert!(cat.ends_with(b"\n"));

    // Every line is one that was sent. No line is torn, no line is doubled, and no line within a
    // connection is missing.
    let all = Market::new(TOPIC).lines(0..sent);
    let mut trades = all.split_inclusive(|byte| *byte == b'\n');
    let mut new_connection = true;
    let mut jumps = 0;
    let mut lines = 0;
    for line in cat.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"{\"success\":") {
            new_connection = true;
            continue;
        }
        lines += 1;
        let skipped = trades.by_ref().take_while(|trade| *trade != line).count();
        assert!(skipped == 0 || new_connection, "{skipped} lines are missing within a connection");
        jumps += usize::from(skipped > 0);
        new_connection = false;
    }
    assert!(trades.next().is_some() || jumps > 0 || lines > 0);

    let gaps = test.gaps();
    let crashed = gaps.iter().filter(|gap| *gap == "not_running crashed at_most").count();
    assert!(gaps.iter().all(|gap| gap == "not_running crashed at_most"), "{gaps:?}");
    // A run that was killed before its first connection shares the gap of the run before.
    assert!(crashed >= jumps && (KILLS - 6..=KILLS).contains(&crashed), "{crashed}, {jumps}");
    let verified = run(&["verify", "-config", test.config().to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Starts a server that sends one message on each connection.
fn start_server() -> Server {
    Server::start(|number, peer| {
        peer.accept_subscription();
        peer.send_text(&format!("{{\"topic\":\"publicTrade.BTCUSDT\",\"n\":{number}}}"));
        peer.answer_until_end();
    })
}

/// Records one message, stops, and records another one.
fn record_twice() -> Test {
    let server = start_server();
    let test = Test::new(&server.url());
    for _ in 0..2 {
        let recorder = test.start();
        recorder.wait_for_messages(1);
        recorder.stop();
    }
    test
}

#[test]
fn a_stop_and_a_start_are_a_gap_of_their_own() {
    let test = record_twice();
    assert_eq!(test.gaps(), ["not_running stopped exact"]);
    let events: Vec<_> = test.journal().iter().map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["open", "up", "stopping", "closed", "open", "up", "stopping", "closed"]);
    let journal = test.journal();
    assert_eq!((&journal[0]["v"], &journal[0]["topics"]), (&json!(1), &json!([TOPIC])));
    assert_ne!(journal[0]["run"], journal[4]["run"]);
    assert_eq!(journal[0]["config"], journal[4]["config"]);
    assert_eq!((&journal[4]["bytes"], &journal[4]["messages"]), (&json!(38), &json!(1)));
    assert_eq!((&journal[7]["messages"], &journal[7]["stop"]), (&json!(2), &json!(true)));
}

#[test]
fn verify_says_which_hours_are_complete_which_have_gaps_and_which_are_damaged() {
    let test = record_twice();
    let config = test.config();
    let verify = || run(&["verify", "-config", config.to_str().unwrap()]);
    let printed = String::from_utf8(verify().stdout).unwrap();
    assert!(printed.contains("1 not sealed yet, with all their lines, 0 bad"), "{printed}");
    assert!(
        printed.contains("0 hours complete, 1 with gaps (`streamer gaps` lists them)"),
        "{printed}"
    );
    // Somebody removes the last line.
    let [file] = test.files().try_into().unwrap();
    fs::write(&file, "{\"topic\":\"publicTrade.BTCUSDT\",\"n\":0}\n").unwrap();
    let bad = verify();
    assert_eq!(bad.status.code(), Some(1));
    let printed = String::from_utf8(bad.stdout).unwrap();
    assert!(
        printed.contains("its journal says that 2 messages were written, and it holds 1"),
        "{printed}"
    );
    assert!(printed.contains(file.to_str().unwrap()), "{printed}");
}

#[test]
fn a_journal_that_cannot_be_written_is_seen_in_the_status_and_in_ls() {
    let server = start_server();
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
    let [file] = test.files().try_into().unwrap();
    let journal = file.with_extension("journal");
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let status = recorder.wait_until(|status| status["journal_errors"].as_u64().unwrap() > 0);
    let words = status["last_journal_error"].as_str().unwrap();
    assert!(words.contains(journal.to_str().unwrap()), "{words}");
    recorder.stop();
    assert_eq!(test.recorded().iter().filter(|byte| **byte == b'\n').count(), 2);
    fs::remove_dir(&journal).unwrap();
    let hours = test.query("ls");
    assert_eq!(hours[0]["unknown"], true, "{hours:?}");
    let listed = run(&["ls", "-config", test.config().to_str().unwrap()]).stdout;
    assert!(String::from_utf8(listed).unwrap().contains("1?"));
}

#[test]
fn a_journal_that_is_a_fifo_does_not_block_the_recorder() {
    let server = start_server();
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
    let journal = test.files()[0].with_extension("journal");
    fs::remove_file(&journal).unwrap();
    // Opening a FIFO to read waits for a writer, and nobody keeps what is written to it.
    let made = std::process::Command::new("mkfifo").arg(&journal).status();
    assert!(made.unwrap().success());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let status = recorder.wait_until(|status| status["journal_errors"].as_u64().unwrap() > 0);
    let words = status["last_journal_error"].as_str().unwrap();
    assert!(words.contains("not a regular file"), "{words}");
    recorder.stop();
    assert_eq!(test.query("gaps")[0]["detail"], "it cannot be read");
}

#[test]
fn gaps_are_selected_by_from_and_to() {
    let test = record_twice();
    let config = test.config();
    let gaps = |more: &[&str]| {
        let mut args = vec!["gaps", "--json", "-config", config.to_str().unwrap()];
        args.extend(more);
        String::from_utf8(run(&args).stdout).unwrap().lines().count()
    };
    // The time before the recording began, that between the runs, and that since the last one.
    assert_eq!(gaps(&[]), 3);
    // The others end before the last one begins.
    let last: Value = test.query("gaps").remove(1);
    assert_eq!(gaps(&["--from", last["from"].as_str().unwrap()]), 1);
    assert_eq!(gaps(&["--to", "2020-01-01"]), 0);
    let plain = run(&["gaps", "-config", config.to_str().unwrap()]);
    let words = String::from_utf8(plain.stderr).unwrap();
    assert!(
        words.starts_with("3 gaps: 1 not_recorded (") && words.contains(", 2 not_running ("),
        "{words}"
    );
    let wrong =
        run(&["gaps", "--from", "now", "--to", "1h ago", "-config", config.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn an_unanswered_close_is_no_loss_however_short_the_shutdown_timeout_is() {
    // The second of the two connections of a topic is not answered either.
    for (timeout, connections) in [("50ms", 1), ("100ms", 2), ("2s", 1)] {
        let server = Server::start(|_, peer| {
            peer.accept_subscription();
            peer.send_text("{\"topic\":\"publicTrade.BTCUSDT\",\"n\":0}");
            peer.wait_for_end();
        });
        let test = Test::with_source(&server.url(), json!({ "connections": connections }))
            .set("shutdown_timeout", timeout.into());
        let recorder = test.start();
        recorder.wait_for_messages(1);
        recorder.wait_until(|status| status["connects"] == connections);
        recorder.stop();
        let log = test.log();
        assert!(!log.contains("lost") && log.contains("hour closed"), "{timeout}: {log}");
        // What the server may have sent since is unknown; the run itself ended in order.
        let gaps = test.gaps();
        assert!(gaps.iter().all(|gap| gap.starts_with("down ")), "{timeout}: {gaps:?}");
    }
}

#[test]
fn a_program_that_does_not_end_leaves_the_files_closed() {
    let server = start_server();
    let test = Test::new(&server.url()).without("output_dir").set("shutdown_timeout", "1s".into());
    let slow = json!({ "type": "exec", "command": ["sh", "-c", "cat > /dev/null; sleep 100"],
        "timeout": "100s" });
    let files = json!({ "type": "jsonl", "output_dir": test.output() });
    let test = test.set("sinks", json!([slow, files]));
    let mut recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.signal("TERM");
    assert_eq!(recorder.wait().code(), Some(1), "the program may not have done its work");
    assert_eq!(test.journal().last().unwrap()["event"], "closed");
    assert_eq!(test.gaps(), Vec::<String>::new());
}

#[test]
fn a_crash_with_many_topics_is_told_to_within_seconds() {
    let topics: Vec<String> = (0..100).map(|number| format!("topic.{number}")).collect();
    let sent = topics.clone();
    let server = Server::start(move |_, peer| {
        peer.accept();
        let request = read_json(peer);
        send_json(peer, &json!({"success": true, "op": "subscribe", "req_id": request["req_id"]}));
        let round: String =
            sent.iter().map(|topic| format!("{{\"topic\":\"{topic}\",\"data\":1}}\n")).collect();
        let frames: Vec<u8> = round.lines().flat_map(|line| frame(0x81, line.as_bytes())).collect();
        peer.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // A round every 50 ms, until the connection ends.
        while peer.stream.write_all(&frames).is_ok()
            && !matches!(peer.stream.read(&mut [0; 512]), Ok(0))
        {}
    });
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let test = test_with_profile("bybit", &names, &server.url(), json!({}));
    let recorder = test.start();
    // Marks alone would be 20 s apart.
    recorder.wait_for_messages(100 * 20 * 4);
    let killed = SystemClock.now();
    recorder.kill();
    let check = |gaps: &[Value]| {
        let crashes =
            gaps.iter().filter(|gap| gap["cause"] == "crashed" && gap["stem"] != "control");
        let mut count = 0;
        for gap in crashes {
            let earliest = killed.saturating_sub(Duration::from_millis(2_500)).to_string();
            assert!(gap["from"].as_str().unwrap() >= earliest.as_str(), "{gap} {killed}");
            assert!(gap["from"].as_str().unwrap() <= killed.to_string().as_str(), "{gap} {killed}");
            count += 1;
        }
        assert_eq!(count, 100);
    };
    check(&test.query("gaps"));
    let recorder = test.start();
    recorder.wait_for_messages(100);
    recorder.stop();
    check(&test.query("gaps"));
}

#[test]
fn cat_says_when_unsealed_lines_are_gone() {
    let test = record_twice();
    let [file] = test.files().try_into().unwrap();
    let cat = || run(&["cat", "-config", test.config().to_str().unwrap()]);
    assert!(cat().status.success());
    let lines = fs::read(&file).unwrap();
    let first = &lines[..lines.len() / 2];
    for cut in [first, b""] {
        fs::write(&file, cut).unwrap();
        let output = cat();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), cut));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("2 messages in 76 bytes: the rest is missing"), "{error}");
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(cat().status.code(), Some(1));
}

/// Records from a server that sends faster than a program takes, and lets `end` end the recorder
/// when it has fallen behind. Returns the gaps, and the time at which the first message was sent
/// that is not in the archive.
fn record_behind(end: impl FnOnce(Recorder)) -> (Vec<Value>, String) {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.stream.set_read_timeout(Some(Duration::from_millis(4))).unwrap();
        let filler = "x".repeat(4_000);
        // Whether or not anybody reads.
        for n in 0.. {
            let sent = SystemClock.now().nanos();
            let text =
                format!("{{\"topic\":\"{TOPIC}\",\"n\":{n},\"sent\":{sent},\"x\":\"{filler}\"}}");
            if peer.stream.write_all(&frame(0x81, text.as_bytes())).is_err() {
                return;
            }
            // The recorder says nothing more: this is the pace.
            drop(peer.stream.read(&mut [0; 512]));
        }
    });
    let test = Test::new(&server.url())
        .without("output_dir")
        .set("buffer_size", 10.into())
        .set("shutdown_timeout", "3s".into());
    let slow = json!({ "type": "exec",
        "command": ["sh", "-c", "while read -r line; do sleep 0.05; done"] });
    let files = json!({ "type": "jsonl", "output_dir": test.output(), "mark_interval": "1s" });
    let test = test.set("sinks", json!([files, slow]));
    let recorder = test.start();
    recorder.wait_for_messages(80);
    end(recorder);
    let recorded = String::from_utf8(test.recorded()).unwrap();
    let complete = recorded.lines().filter(|line| line.ends_with("\"}"));
    let last: Value = serde_json::from_str(complete.clone().next_back().unwrap()).unwrap();
    let last = UnixNanos::new(last["sent"].as_u64().unwrap());
    // The next one was sent 4 ms later, or a little more.
    (test.query("gaps"), last.saturating_add(Duration::from_millis(40)).to_string())
}

#[test]
fn what_a_slow_recorder_had_not_read_yet_is_in_the_gap() {
    let stop = |mut recorder: Recorder| {
        recorder.signal("TERM");
        recorder.wait();
    };
    for (gaps, missing) in [record_behind(stop), record_behind(Recorder::kill)] {
        let is_covered = |gap: &Value| gap["from"].as_str().unwrap() <= missing.as_str();
        assert!(gaps.iter().any(is_covered), "{missing}: {gaps:#?}");
    }
}

//! Tests with real programs, good and bad.

use super::*;
use crate::metrics::StageLoss;
use crate::stages::stage_harness::{StageHarness, StageOutcome};

#[expect(clippy::needless_pass_by_value, reason = "`json!` gives values")]
fn harness(script: &str, keys: Value) -> StageHarness {
    let mut config = json!({ "command": ["sh", "-c", script], "timeout": "2s" });
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    StageHarness::new::<ExecStageConfig>(config).unwrap()
}

fn lines(batch: &Batch) -> Vec<String> {
    batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap()).collect()
}

/// Returns the outcome of the messages, including output that the program writes until its end.
fn run_to_end(bench: &mut StageHarness, messages: &[&str]) -> StageOutcome {
    let StageOutcome { mut passed, mut failures } = bench.run(messages);
    let mut drain = |fill: &mut dyn FnMut(&mut Batch) -> bool| {
        let mut has_more = true;
        while has_more {
            let mut batch = Batch::new();
            has_more = fill(&mut batch);
            passed.extend(lines(&batch));
            failures.extend(batch.take_failures().into_iter().map(|failure| failure.reason));
        }
    };
    drain(&mut |batch| bench.stage.drain_ready(batch).unwrap() == DrainStatus::More);
    drain(&mut |batch| bench.stage.close(batch).unwrap() == DrainStatus::More);
    StageOutcome { passed, failures }
}

#[test]
fn lines_go_through_the_program() {
    let mut bench = harness("while read -r x; do echo \"<$x>\"; done; echo end", json!({}));
    let StageOutcome { passed, failures } = run_to_end(&mut bench, &["a", "b"]);
    assert_eq!(passed, ["<a>", "<b>", "end"]);
    assert_eq!(failures.len(), 0);
}

#[test]
fn both_pipes_may_fill() {
    // The input is more than a pipe holds.
    let message = "x".repeat(1000);
    let messages = vec![message.as_str(); 2_000];
    let mut bench = harness("cat", json!({}));
    let StageOutcome { passed, failures } = run_to_end(&mut bench, &messages);
    assert_eq!((passed.len(), failures.len()), (2_000, 0));
    let mut twice = harness("while read -r x; do echo $x; echo $x; done", json!({}));
    assert_eq!(run_to_end(&mut twice, &messages).passed.len(), 4_000);
}

#[test]
fn lines_unread_by_a_program_that_exits_pass_unchanged() {
    // The program reads one line and dies.
    let script = "read -r x; echo \"<$x>\"; exit 3";
    let mut bench = harness(script, json!({ "replies": "each" }));
    let StageOutcome { passed, failures } = run_to_end(&mut bench, &["a", "b", "c"]);
    assert_eq!(passed, ["<a>", "b", "c"]);
    assert_eq!(failures.len(), 2);
}

#[test]
fn with_any_replies_unread_lines_pass_unchanged_and_read_ones_count_as_lost() {
    // `dd` reads one block, writes it, and dies.
    let message = "y".repeat(99);
    let messages = vec![message.as_str(); 5_000];
    let mut bench = harness("dd bs=10000 count=1 status=none", json!({}));
    let StageOutcome { passed, failures } = run_to_end(&mut bench, &messages);
    assert_eq!(passed.len(), 5_000, "100 through the program, the others unchanged");
    assert_eq!(failures.len(), 4_900);
}

#[test]
fn a_hanging_program_is_killed_and_restarted_later() {
    let message = "x".repeat(1000);
    let messages = vec![message.as_str(); 200];
    let mut bench = harness("exec sleep 1000", json!({ "timeout": "200ms" }));
    let StageOutcome { passed, failures } = bench.run(&messages);
    assert_eq!((passed.len(), failures.len()), (200, 200));
    assert!(failures[0].contains("did nothing for 200ms"));
    let StageOutcome { passed, failures } = bench.run(&["a"]);
    assert_eq!(passed, ["a"]);
    assert_eq!(failures, ["the program is not running"]);
}

#[test]
fn endless_output_is_bounded_in_memory() {
    let message = "x".repeat(1000);
    let messages = vec![message.as_str(); 1_000];
    let mut bench = harness(&format!("exec yes {message}"), json!({}));
    let StageOutcome { mut failures, .. } = bench.run(&messages);
    let mut has_more = true;
    while has_more {
        let mut batch = Batch::new();
        has_more = bench.stage.drain_ready(&mut batch).unwrap() == DrainStatus::More;
        assert!(batch.as_lines().len() < 10 << 20);
        failures.extend(batch.take_failures().into_iter().map(|failure| failure.reason));
    }
    assert_eq!(failures.len(), 1_000, "messages that the program did not read pass");
    assert!(failures[0].contains("without end"));
}

#[test]
fn output_that_is_not_utf8_is_counted_and_dropped() {
    let mut any = harness("printf 'a\\n\\377\\nb\\n'; cat >/dev/null", json!({}));
    assert_eq!(run_to_end(&mut any, &["1"]).passed, ["a", "b"]);
    assert_eq!((any.counters().counters["garbled"], any.lost_messages()), (1, 1));
    let script = "read -r x; printf '\\377\\n'; read -r x; echo; read -r x; echo c; read -r x; echo d; echo more";
    let mut each = harness(script, json!({ "replies": "each" }));
    let StageOutcome { passed, failures } = run_to_end(&mut each, &["1", "2", "3", "4"]);
    assert_eq!(passed, ["1", "c", "d"]);
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (each.counters().counters["garbled"], each.lost_messages()),
        (1, 0),
        "the message passed unchanged"
    );
}

#[test]
fn descendants_of_the_program_are_killed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; exec sleep 1000", pid.display());
    let mut bench = harness(&script, json!({ "timeout": "300ms" }));
    let message = "x".repeat(100_000);
    bench.run(&[&message]);
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    // The process is gone, or dead and not yet reaped by init. The kernel needs a moment to kill.
    let ended = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    let begun = Instant::now();
    while !ended() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the process still runs");
        std::thread::yield_now();
    }
}

#[test]
fn a_missing_program_is_a_configuration_error() {
    let keys = json!({ "command": ["no-such-program"] });
    let error = StageHarness::new::<ExecStageConfig>(keys).err().unwrap().to_string();
    assert!(error.contains("there is no program `no-such-program`"), "{error}");
    assert!(StageHarness::new::<ExecStageConfig>(json!({ "command": [] })).is_err());
}

#[test]
fn output_written_after_stdin_closes_is_kept() {
    // `tac` writes nothing before the end of its input.
    let message = "x".repeat(1000);
    let messages = vec![message.as_str(); 20_000];
    let mut bench = harness("tac", json!({}));
    let StageOutcome { passed, failures } = run_to_end(&mut bench, &messages);
    assert_eq!((passed.len(), failures.len()), (20_000, 0));
}

#[test]
fn lines_read_before_an_exit_are_counted_as_possibly_lost() {
    let script = "echo one; head -c 50000 > /dev/null; exit 1";
    let mut bench = harness(script, json!({}));
    let messages = vec!["0123456789"; 20_000];
    let StageOutcome { passed, .. } = run_to_end(&mut bench, &messages);
    let passed = passed.len();
    let lost = bench.lost_messages();
    assert!(passed < 20_000, "the first were read");
    assert!(passed as u64 - 1 + lost >= 20_000, "{passed} passed and {lost} may be lost");
}

#[test]
fn possible_loss_is_dated_from_the_first_line_given_to_the_program() {
    let script = "while read -r x; do if test $x = 3; then exit 1; fi; done";
    let mut bench = harness(script, json!({}));
    for (seconds, message) in [(10, "1"), (600, "2"), (700, "3")] {
        bench.run_at(seconds, &[message]);
    }
    let begun = Instant::now();
    while bench.lost_messages() == 0 {
        bench.stage.drain_ready(&mut Batch::new()).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    let since = UnixNanos::from_seconds(10);
    assert_eq!(bench.drain_lost(), Some(StageLoss { messages: 3, since }));
}

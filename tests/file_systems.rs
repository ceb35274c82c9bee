//! File systems that lack an operation, as network file systems and FAT do. `strace` takes the
//! operation away from the real binary.

use serde_json::Value;
use streamer::exchange::ExchangeOptions;

use crate::harness::{RunningExchange, Test, run, split_answers, tool};

/// Records some trades while a system call fails with this error. Returns what was recorded.
fn record_without(call: &str, errno: &str) -> Option<Test> {
    tool("strace")?;
    let exchange = RunningExchange::start(ExchangeOptions {
        count: Some(2_000),
        ..ExchangeOptions::default()
    });
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:error={errno}");
    // With `-D` the recorder is the child of the test, and strace is beside it.
    let strace = ["strace", "-D", "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let test = Test::new(&exchange.url).wrapped(&strace);
    let recorder = test.start();
    recorder.wait_for_messages(2_001);
    let status = recorder.status();
    assert_eq!((&status["stall"], &status["sink_errors"]), (&Value::Null, &0.into()), "{call}");
    recorder.stop();
    exchange.stop();
    let (trades, _) = split_answers(&test.recorded());
    assert_eq!(trades.iter().filter(|byte| **byte == b'\n').count(), 2_000, "{call}");
    Some(test)
}

#[test]
fn a_file_system_without_locks_is_recorded_on_and_said_once() {
    for errno in ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EBADF"] {
        let Some(test) = record_without("flock", errno) else { return };
        let log = test.log();
        assert_eq!(log.matches("does not support `flock`").count(), 1, "{errno}: {log}");
        assert_eq!(test.gaps(), Vec::<String>::new(), "{errno}");
    }
}

#[test]
fn a_file_system_that_cannot_sync_is_recorded_on_without_false_gaps_and_calls_nothing_durable() {
    let Some(test) = record_without("fdatasync,fsync", "EINVAL") else { return };
    assert_eq!(test.gaps(), Vec::<String>::new());
    assert!(test.log().matches("does not support `fsync`").count() == 1, "{}", test.log());
    let journal = test.journal();
    let closed = journal.iter().find(|event| event["event"] == "closed").unwrap();
    assert_eq!(closed["durable"], false, "{closed}");
    assert!(journal.iter().all(|event| event["event"] != "sync_failed"), "{journal:#?}");
}

#[test]
fn a_directory_that_cannot_be_synced_is_no_failed_sync() {
    // Lines are synced with `fdatasync`, so that `fsync` is that of the directory.
    let Some(test) = record_without("fsync", "EINVAL") else { return };
    assert_eq!(test.gaps(), Vec::<String>::new());
    let journal = test.journal();
    let closed = journal.iter().find(|event| event["event"] == "closed").unwrap();
    assert_eq!(closed["durable"], true, "{closed}");
}

#[test]
fn an_hour_on_a_file_system_that_lacks_an_operation_is_sealed() {
    for inject in
        ["flock:error=EBADF", "fsync:error=EINVAL", "fchmod:error=EPERM", "utimensat:error=EPERM"]
    {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t_3600.jsonl"), "{}\n").unwrap();
        let Some(mut strace) = tool("strace") else { return };
        let call = inject.split_once(':').unwrap().0;
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
        strace.arg(format!("inject={inject}")).arg(env!("CARGO_BIN_EXE_streamer"));
        let sealed = strace.args(["archive", "--dir"]).arg(dir.path()).output().unwrap();
        assert!(sealed.status.success(), "{inject}: {}", String::from_utf8_lossy(&sealed.stderr));
        assert!(dir.path().join("t_3600.jsonl.zst").exists(), "{inject}");
        assert!(!dir.path().join("t_3600.jsonl").exists(), "{inject}");
        let dir = dir.path().to_str().unwrap();
        assert!(run(&["verify", "--dir", dir]).status.success(), "{inject}");
    }
}

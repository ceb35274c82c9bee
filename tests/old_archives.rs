//! Archives that earlier recorders wrote. Every version reads, continues and seals them.
//!
//! `tests/fixtures/v1/README.md` describes the directories; each test works on a copy.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Server, Test, faketime, run};

const STEM: &str = "trades.BTC";
/// The hour that most of the directories hold, 2026-03-01T10Z.
const HOUR: &str = "1772359200";

/// The directories below `tests/fixtures/v1`.
pub const NAMES: [&str; 10] = [
    "killed",
    "torn_tail",
    "two_runs",
    "sealed",
    "topics",
    "topics_in_one_file",
    "pipelines/left",
    "pipelines/right",
    "full_disk",
    "trouble",
];
/// The number of lines that each of them holds.
const LINES: [usize; 10] = [13, 13, 18, 130, 22, 32, 5, 5, 103, 51];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// A copy of one of the directories.
pub struct Archive {
    dir: tempfile::TempDir,
}

impl Archive {
    pub fn copy_of(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(fixtures().join(name)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.path().join(format!("{STEM}_{HOUR}{suffix}"))
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Runs a command on the directory, which must succeed, and returns what it prints.
    pub fn output(&self, command: &str, args: &[&str]) -> String {
        let dir = self.path().to_str().unwrap();
        let output = run(&[&[command, "--dir", dir], args].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, command: &str) -> Vec<Value> {
        let output = self.output(command, &["--json"]);
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the gaps in the order of time, each as `stem down eof exact`, without the time before
    /// the recording began. None goes on: the archive is a copy that no recorder holds.
    fn gaps(&self) -> Vec<String> {
        let gap = |gap: &Value| {
            assert!(gap["to"].is_string(), "{gap}");
            ["stem", "kind", "cause", "certainty"].map(|key| gap[key].as_str().unwrap()).join(" ")
        };
        let gaps = self.json("gaps");
        gaps.iter().filter(|gap| gap["kind"] != "not_recorded").map(gap).collect()
    }
}

/// Returns the lines of trades `from..to` of a topic, as the scripted server sent them.
fn trades(topic: &str, range: std::ops::Range<u32>) -> String {
    let line = |n: u32| {
        let whole = 64_000 + n * 7 % 93;
        let cents = n * 31 % 100;
        format!("{{\"topic\":\"{topic}\",\"n\":{n},\"p\":\"{whole}.{cents:02}\"}}\n")
    };
    range.map(line).collect()
}

/// Returns the server's answer to request `number`.
fn answer(number: u32) -> String {
    format!("{{\"success\":true,\"ret_msg\":\"\",\"op\":\"subscribe\",\"req_id\":\"r{number}\"}}\n")
}

/// Returns the lines of a run of the scripted server: an answer, and these trades.
fn one_run(range: std::ops::Range<u32>) -> String {
    answer(1) + &trades(STEM, range)
}

#[test]
fn ls_and_cat_find_all_lines_of_every_old_archive() {
    for (name, lines) in NAMES.into_iter().zip(LINES) {
        let archive = Archive::copy_of(name);
        assert_eq!(archive.output("cat", &[]).lines().count(), lines, "{name}");
        let hours = archive.json("ls");
        let stored = |hour: &&Value| hour["state"] != "removed";
        let listed = hours.iter().filter(stored).map(|hour| hour["messages"].as_u64().unwrap());
        assert_eq!(listed.sum::<u64>(), lines as u64, "{name}: {hours:#?}");
    }
}

#[test]
fn cat_returns_the_lines_of_old_archives_byte_for_byte() {
    let cat = |name: &str, args: &[&str]| Archive::copy_of(name).output("cat", args);
    assert_eq!(cat("killed", &[]), one_run(0..12));
    assert_eq!(cat("torn_tail", &[]), one_run(0..12), "without the torn line");
    assert_eq!(cat("two_runs", &[]), one_run(0..8) + &one_run(8..16));
    assert_eq!(cat("pipelines/left", &[]), one_run(0..4));
    assert_eq!(cat("pipelines/right", &[]), one_run(100..104));
    assert_eq!(cat("topics", &[STEM]), trades(STEM, 0..8));
    assert_eq!(cat("topics", &["book/ETH"]), trades("book/ETH", 0..8));
    assert_eq!(cat("topics", &["bad"]), "");
    assert!(cat("topics", &["control"]).starts_with(&(answer(1) + &answer(2))));
    let sealed = cat("sealed", &[]);
    assert!(sealed.starts_with(&one_run(60..90)), "{sealed}");
}

#[test]
fn verify_finds_old_archives_undamaged() {
    for (name, lines) in NAMES.into_iter().zip(LINES) {
        let archive = Archive::copy_of(name);
        let hours = archive.json("verify");
        assert!(!hours.is_empty() && hours.iter().all(|hour| hour["verdict"] != "bad"), "{name}");
        let messages: u64 = hours.iter().map(|hour| hour["messages"].as_u64().unwrap()).sum();
        assert_eq!(messages, lines as u64, "{name}: {hours:#?}");
    }
}

#[test]
fn verify_finds_a_damaged_old_archive() {
    let archive = Archive::copy_of("two_runs");
    fs::write(archive.file(".jsonl"), one_run(0..8)).unwrap();
    let output = run(&["verify", "--json", "--dir", archive.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn ls_shows_the_state_of_old_hours() {
    let state = |hour: &Value| {
        let hour = ["stem", "hour", "state"].map(|key| hour[key].as_str().unwrap().to_owned());
        hour.join(" ")
    };
    let states = |name| Archive::copy_of(name).json("ls").iter().map(state).collect::<Vec<_>>();
    assert_eq!(states("killed"), ["trades.BTC 2026-03-01T10:00:00.000Z closed"]);
    assert_eq!(
        states("sealed"),
        [
            "trades.BTC 2026-01-15T06:00:00.000Z removed",
            "trades.BTC 2026-01-15T07:00:00.000Z removed",
            "trades.BTC 2026-03-01T07:00:00.000Z sealed",
            "trades.BTC 2026-03-01T08:00:00.000Z sealed",
        ]
    );
    assert_eq!(
        states("topics"),
        [
            "bad 2026-03-01T10:00:00.000Z empty",
            "book%2FETH 2026-03-01T10:00:00.000Z closed",
            "control 2026-03-01T10:00:00.000Z closed",
            "trades.BTC 2026-03-01T10:00:00.000Z closed",
        ]
    );
}

#[test]
fn the_account_of_a_copy_ends_with_its_last_hour_and_says_so() {
    let archive = Archive::copy_of("killed");
    let dir = archive.path().to_str().unwrap();
    for command in ["gaps", "ls", "report"] {
        let output = run(&[command, "--dir", dir]);
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains("no recorder holds"), "{command}: {words}");
        assert!(words.contains("nothing is known after 2026-03-01T10:"), "{command}: {words}");
    }
    let last = archive.json("gaps").pop().unwrap();
    assert_eq!(last["to"], "2026-03-01T11:00:00.000Z");
    let report = archive.output("report", &[]);
    assert!(report.contains("1 hours, 0 of them complete"), "{report}");
}

#[test]
fn gaps_of_old_journals_keep_their_meaning() {
    let gaps = |name| Archive::copy_of(name).gaps();
    for name in ["killed", "torn_tail"] {
        assert_eq!(gaps(name), ["trades.BTC not_running crashed at_most"]);
    }
    assert_eq!(
        gaps("two_runs"),
        ["trades.BTC not_running stopped exact", "trades.BTC not_running stopped exact",]
    );
    assert_eq!(
        gaps("sealed"),
        [
            "trades.BTC down closed at_most",
            "trades.BTC not_running stopped exact",
            "trades.BTC not_running crashed at_most",
            "trades.BTC down closed at_most",
            "trades.BTC not_running stopped exact",
            "trades.BTC down idle at_most",
            "trades.BTC not_running stopped exact",
        ]
    );
    assert_eq!(
        gaps("topics"),
        [
            "bad down refused exact",
            "book%2FETH down eof exact",
            "control down eof exact",
            "trades.BTC down eof exact",
            "bad not_running stopped exact",
            "book%2FETH not_running stopped exact",
            "control not_running stopped exact",
            "trades.BTC not_running stopped exact",
        ]
    );
    assert_eq!(
        gaps("topics_in_one_file"),
        [
            "all down refused exact",
            "all down eof exact",
            "all not_running stopped exact",
            "all not_running crashed at_most",
            "all down silent at_most",
        ]
    );
    assert_eq!(
        gaps("full_disk"),
        [
            "trades.BTC dropped overflow exact",
            "trades.BTC stalled disk possible",
            "trades.BTC not_running stopped exact",
        ]
    );
    let trouble = gaps("trouble");
    for gap in [
        "trades.BTC dropped undecodable exact",
        "trades.BTC down eof exact",
        "trades.BTC dropped stage at_most",
        "trades.BTC down closed exact",
        "trades.BTC unknown sync_failed possible",
        "trades.BTC not_running suspended exact",
        "trades.BTC unknown journal possible",
        "trades.BTC dropped given_up exact",
        "trades.BTC not_running stopped exact",
    ] {
        assert!(trouble.iter().any(|found| found == gap), "no {gap:?} in {trouble:#?}");
    }
}

#[test]
fn gaps_of_old_journals_keep_their_times() {
    let gaps = Archive::copy_of("two_runs").json("gaps");
    // Before it is the time before the recording began.
    let stop = &gaps[1];
    assert_eq!(stop["from"], "2026-03-01T10:20:01.262Z");
    assert_eq!(stop["to"], "2026-03-01T10:25:00.027Z");
    let gaps = Archive::copy_of("full_disk").json("gaps");
    assert_eq!(
        (&gaps[1]["messages"], &gaps[1]["from"]),
        (&100.into(), &"2026-03-01T10:20:01.002Z".into())
    );
}

#[test]
fn report_draws_old_archives() {
    for name in NAMES {
        let archive = Archive::copy_of(name);
        let report = archive.output("report", &[]);
        assert!(report.contains("2026-03-01"), "{name}: {report}");
        let page = archive.path().join("report.html");
        archive.output("report", &["--html", page.to_str().unwrap()]);
        assert!(fs::read_to_string(page).unwrap().contains("2026-03-01"), "{name}");
    }
}

/// Records one message into the archive, at 10:40 of its hour. Returns `None` without libfaketime.
fn record_one_message(archive: &Archive) -> Option<()> {
    let library = faketime()?;
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{\"topic\":\"trades.BTC\",\"n\":1000}");
        peer.answer_until_end();
    });
    let test = Test::new(&server.url())
        .set("topic", STEM.into())
        .set("output_dir", archive.path().to_str().into())
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("FAKETIME", "@2026-03-01 10:40:00")
        .env("TZ", "UTC")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1");
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
    Some(())
}

#[test]
fn a_recorder_continues_an_old_hour_and_keeps_its_lines() {
    for (name, lines) in [
        ("killed", one_run(0..12)),
        ("torn_tail", one_run(0..12)),
        ("two_runs", one_run(0..8) + &one_run(8..16)),
    ] {
        let archive = Archive::copy_of(name);
        let journal = fs::read_to_string(archive.file(".journal")).unwrap();
        if record_one_message(&archive).is_none() {
            return;
        }
        let continued = fs::read_to_string(archive.file(".jsonl")).unwrap();
        assert_eq!(continued, lines.clone() + "{\"topic\":\"trades.BTC\",\"n\":1000}\n", "{name}");
        let torn = fs::read_to_string(archive.file(".torn")).ok();
        let expected = "{\"topic\":\"trades.BTC\",\"n\":12,\"p\":\"640\n";
        assert_eq!(torn.as_deref(), (name == "torn_tail").then_some(expected), "{name}");
        let continued = fs::read_to_string(archive.file(".journal")).unwrap();
        assert!(continued.starts_with(&journal), "{name}: a journal is only appended to");
        let gaps = archive.gaps();
        let before = if name == "two_runs" { "stopped exact" } else { "crashed at_most" };
        let expected = format!("{STEM} not_running {before}");
        assert_eq!(gaps[gaps.len() - 2], expected, "{name}");
        archive.output("verify", &[]);
        // The line that was sent is in the archive still when the hour is sealed.
        archive.output("archive", &[]);
        archive.output("verify", &[]);
        assert!(archive.output("cat", &[]).starts_with(&lines), "{name}");
    }
}

#[test]
fn old_hours_are_sealed_with_all_their_lines() {
    for (name, lines) in NAMES.into_iter().zip(LINES) {
        let archive = Archive::copy_of(name);
        let before = archive.output("cat", &[]);
        let gaps = archive.gaps();
        archive.output("archive", &[]);
        let after = archive.output("cat", &[]);
        assert!(after.starts_with(&before), "{name}");
        // Without `keep_journals` those of hours that were removed go, and their gaps with them.
        let kept = if name == "sealed" { &gaps[2..] } else { &gaps[..] };
        assert_eq!(archive.gaps(), kept, "{name}");
        let names = archive.names();
        assert!(!names.iter().any(|name| name.ends_with(".jsonl")), "{name}: {names:?}");
        let hours = archive.json("verify");
        assert!(hours.iter().all(|hour| hour["verdict"] == "intact"), "{name}: {hours:#?}");
        assert!(after.lines().count() >= lines, "{name}");
    }
}

#[test]
fn the_old_journals_hold_every_event() {
    let mut events = BTreeSet::new();
    for name in NAMES {
        for entry in fs::read_dir(fixtures().join(name)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "journal") {
                let text = fs::read_to_string(&path).unwrap();
                for line in text.lines() {
                    let entry: Value = serde_json::from_str(line).unwrap();
                    events.insert(entry["event"].as_str().unwrap().to_owned());
                }
            }
        }
    }
    let all = "clock_step closed down drop mark missing open recovered rejected removed resume sealed \
               sealing stall stopping suspended sync_failed topic_down topic_up unconfirmed up";
    assert!(events.iter().eq(all.split_whitespace()), "{events:?}");
}

//! The commands that work on the archive, and stock tools that read its files.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use streamer::exchange::Market;

use crate::harness::{SmallDisk, TOPIC, binary, python_with, run, tool};

/// 2023-11-14T22:00:00Z.
const HOUR: u64 = 1_699_999_200;

fn trades(range: std::ops::Range<u64>) -> Vec<u8> {
    Market::new(TOPIC).lines(range)
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, stem: &str, hour: u64, suffix: &str) -> PathBuf {
        self.0.path().join(format!("{stem}_{}{suffix}", HOUR + 3600 * hour))
    }

    fn write(&self, stem: &str, hour: u64, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(stem, hour, ".jsonl");
        fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, command: &str, args: &[&str]) -> Output {
        let dir = self.0.path().to_str().unwrap();
        run(&[&[command, "--dir", dir], args].concat())
    }

    /// Runs the command, which must succeed, and returns its stdout.
    fn output(&self, command: &str, args: &[&str]) -> Vec<u8> {
        let output = self.run(command, args);
        assert!(output.status.success(), "{}", words(&output));
        output.stdout
    }

    fn json(&self, command: &str, args: &[&str]) -> Vec<Value> {
        json_lines(&self.output(command, &[args, &["--json"]].concat()))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }
}

fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn words(output: &Output) -> String {
    let out = &output.stdout;
    let err = &output.stderr;
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn the_stock_zstd_reads_a_sealed_hour() {
    let Some(mut zstd) = tool("zstd") else { return };
    let dir = Dir::new();
    dir.write("t", 0, trades(0..60_000));
    dir.output("archive", &[]);
    // The hour is sealed in two parts.
    dir.write("t", 0, trades(60_000..60_010));
    dir.output("archive", &[]);
    let sealed = dir.path("t", 0, ".jsonl.zst");
    assert_eq!(dir.names(), ["t_1699999200.journal", "t_1699999200.jsonl.zst"]);
    assert!(zstd.args(["-q", "-t"]).arg(&sealed).status().unwrap().success());
    let decoded = tool("zstd").unwrap().args(["-q", "-dc"]).arg(&sealed).output().unwrap();
    assert!(decoded.stdout == trades(0..60_010));
    let listed = tool("zstd").unwrap().args(["-lv"]).arg(&sealed).output().unwrap();
    let listed = words(&listed);
    let size = trades(0..60_010).len().to_string();
    assert!(listed.contains("XXH64") && listed.contains(&size), "{listed}");
    assert!(dir.output("cat", &[]) == trades(0..60_010));
}

#[test]
fn duckdb_reads_a_sealed_hour() {
    let Some(mut python) = python_with("duckdb") else { return };
    let dir = Dir::new();
    for hour in 0..3 {
        dir.write("t", hour, trades(hour * 40_000..(hour + 1) * 40_000));
    }
    dir.write("t", 3, "");
    dir.output("archive", &[]);
    // The hour gets a further frame.
    dir.write("t", 2, trades(120_000..120_010));
    dir.output("archive", &[]);
    // The query is the one of the README.
    let script = r#"
import duckdb, sys
print(*duckdb.sql(f"""
    select count(*), sum((json->>'$.data[0].seq')::bigint), min(json->>'$.topic')
    from read_ndjson_objects('{sys.argv[1]}/*.jsonl.zst')
""").fetchall()[0])
"#;
    let output = python.args(["-c", script]).arg(dir.0.path()).output().unwrap();
    let rows = words(&output);
    let expected: i64 = json_lines(&trades(0..120_010))
        .iter()
        .map(|trade| trade["data"][0]["seq"].as_i64().unwrap())
        .sum();
    assert_eq!(rows.trim(), format!("120010 {expected} {TOPIC}"), "{rows}");
}

#[test]
fn ls_lists_every_hour_without_decoding_it() {
    let dir = Dir::new();
    dir.write("b", 0, trades(0..100));
    dir.write("a", 0, trades(0..50));
    dir.output("archive", &[]);
    dir.write("a", 1, trades(0..10));
    dir.write("a", 500_000, "{}\n{}");
    let rows = dir.json("ls", &[]);
    let brief = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("stem"), text("hour"), text("state"), row["messages"].as_u64().unwrap())
    };
    let expected = [
        ("a", "2023-11-14T22:00:00.000Z", "sealed", 50),
        ("b", "2023-11-14T22:00:00.000Z", "sealed", 100),
        ("a", "2023-11-14T23:00:00.000Z", "closed", 10),
        ("a", "2080-11-28T06:00:00.000Z", "open", 1),
    ];
    let expected: Vec<_> =
        expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d)).into();
    assert_eq!(rows.iter().map(brief).collect::<Vec<_>>(), expected);
    assert_eq!(rows[1]["raw_bytes"], trades(0..100).len());
    let sealed = dir.path("b", 0, ".jsonl.zst");
    assert_eq!(rows[1]["stored_bytes"], fs::metadata(&sealed).unwrap().len());
    assert_eq!(rows[1]["path"], sealed.to_str().unwrap());
    if let Some(mut sha256sum) = tool("sha256sum") {
        let lines = dir.path("b", 0, ".copy");
        fs::write(&lines, trades(0..100)).unwrap();
        let sum = words(&sha256sum.arg(lines).output().unwrap());
        assert!(sum.starts_with(rows[1]["sha256"].as_str().unwrap()), "{sum}");
    }
    // An hour that cannot be decoded is listed as well.
    let length = fs::metadata(&sealed).unwrap().len();
    fs::write(&sealed, vec![0; length as usize]).unwrap();
    let text = String::from_utf8(dir.output("ls", &[])).unwrap();
    assert!(text.starts_with("STEM") && text.lines().count() == 5, "{text}");
    assert!(text.contains("2023-11-14T22Z"), "{text}");
}

#[test]
fn cat_prints_sealed_and_open_hours_in_the_order_of_time() {
    let dir = Dir::new();
    for hour in 0..3 {
        dir.write("t", hour, trades(hour * 10..hour * 10 + 10));
    }
    dir.output("archive", &[]);
    dir.write("t", 3, trades(30..40));
    // The last line is still being written.
    let mut open = trades(40..50);
    open.extend(b"{\"half");
    let being_written = fs::File::open(dir.write("t", 4, open)).unwrap();
    being_written.lock().unwrap();
    dir.write("XBT%2FUSD", 1, "\"x\"\n");
    assert!(dir.output("cat", &["t"]) == trades(0..50));
    let between = ["t", "--from", "2023-11-14T23:30:00Z", "--to", "2023-11-15T01:00:00Z"];
    assert!(dir.output("cat", &between) == trades(10..30));
    assert!(dir.output("cat", &["t", "--from", "2h ago"]).is_empty());
    assert_eq!(dir.output("cat", &["XBT/USD"]), b"\"x\"\n", "a topic is as good as its stem");
    let all = dir.output("cat", &[]);
    assert_eq!(all.iter().filter(|byte| **byte == b'\n').count(), 51);
    // Nobody writes it any more.
    drop(being_written);
    let unterminated = dir.run("cat", &["t"]);
    assert_eq!(unterminated.status.code(), Some(1));
    assert!(unterminated.stdout == trades(0..50));
    assert!(words(&unterminated).contains("6 bytes that have no line feed"));
    let unknown = dir.run("cat", &["tt"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(words(&unknown).contains("there is no hour of `tt`"), "{}", words(&unknown));
    assert_eq!(dir.run("cat", &["--from", "soon"]).status.code(), Some(2));
    assert_eq!(dir.run("cat", &["--from", "1h ago", "--to", "5h ago"]).status.code(), Some(2));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let dir = Dir::new();
    dir.write("t", 0, trades(0..50_000));
    dir.output("archive", &[]);
    for command in ["cat", "ls"] {
        let mut child = binary()
            .args([command, "--dir", dir.0.path().to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.lines().all(|line| line.starts_with("no recorder holds")), "{told}");
    }
}

#[test]
fn verify_names_each_bad_hour_and_fails() {
    let dir = Dir::new();
    for hour in 0..5 {
        dir.write("t", hour, trades(hour * 1000..hour * 1000 + 1000));
    }
    dir.output("archive", &[]);
    let good = String::from_utf8(dir.output("verify", &[])).unwrap();
    assert!(good.starts_with("5 hours intact, 0 bad; 5000 messages"), "{good}");
    let flipped = dir.path("t", 1, ".jsonl.zst");
    let mut bytes = fs::read(&flipped).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&flipped, bytes).unwrap();
    fs::copy(dir.path("t", 0, ".jsonl.zst"), dir.path("t", 2, ".jsonl.zst")).unwrap();
    fs::remove_file(dir.path("t", 3, ".jsonl.zst")).unwrap();
    let bad = dir.run("verify", &[]);
    assert_eq!(bad.status.code(), Some(1));
    let printed = words(&bad);
    assert_eq!(printed.matches("BAD ").count(), 3, "{printed}");
    assert!(printed.contains("2 hours intact, 3 bad"), "{printed}");
    assert!(printed.contains(flipped.to_str().unwrap()), "{printed}");
    let verdicts = json_lines(&dir.run("verify", &["--json", "--threads", "1"]).stdout);
    let kinds: Vec<_> = verdicts.iter().map(|line| line["verdict"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["intact", "bad", "bad", "bad", "intact"]);
}

#[test]
fn a_dry_run_reports_what_it_would_do_and_does_nothing() {
    let dir = Dir::new();
    dir.write("t", 0, trades(0..100));
    dir.output("archive", &[]);
    dir.write("t", 1, trades(0..10));
    let config = dir.0.path().join("config.json");
    let text = serde_json::json!({
        "output_dir": dir.0.path(), "archive": { "retention": { "max_age": "90d" } },
    });
    fs::write(&config, text.to_string()).unwrap();
    let before = dir.names();
    let args = ["archive", "--dry-run", "-config", config.to_str().unwrap()];
    let printed = words(&run(&args));
    assert!(printed.contains("would seal ") && printed.contains("closed"), "{printed}");
    assert!(printed.contains("would remove ") && printed.contains("max_age"), "{printed}");
    assert!(printed.contains("1 to seal ("), "{printed}");
    let json = json_lines(&run(&[&args[..], &["--json"]].concat()).stdout);
    let events: Vec<_> = json.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["would_seal", "would_remove", "would_remove"]);
    assert_eq!(dir.names(), before);
    // The same run without `--dry-run` does what was announced.
    assert!(run(&["archive", "-config", config.to_str().unwrap()]).status.success());
    assert_eq!(dir.names(), ["config.json"]);
}

#[test]
fn archive_commands_need_no_secrets_of_the_source() {
    let dir = Dir::new();
    dir.write("t", 0, trades(0..10));
    let config = dir.0.path().join("config.json");
    let text = serde_json::json!({
        "output_dir": dir.0.path(),
        "source": {
            "type": "websocket", "url": "wss://h",
            "headers": { "Authorization": "${STREAMER_TEST_UNSET}" },
        },
    });
    fs::write(&config, text.to_string()).unwrap();
    let listed = run(&["ls", "-config", config.to_str().unwrap()]);
    assert!(listed.status.success(), "{}", words(&listed));
    let both = dir.run("ls", &["-config", config.to_str().unwrap()]);
    assert_eq!(both.status.code(), Some(2), "--dir and --config exclude each other");
}

#[test]
fn a_killed_archive_run_neither_loses_nor_doubles_lines() {
    let dir = Dir::new();
    let mut kills = 0;
    let mut all = Vec::new();
    for round in 0..12_u32 {
        let hour = u64::from(round / 4);
        let from = u64::from(round) * 30_000;
        let lines = trades(from..from + 30_000);
        all.extend_from_slice(&lines);
        dir.write("t", hour, lines);
        let mut child = binary()
            .args(["archive", "--dir", dir.0.path().to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let exists = |suffix| dir.path("t", hour, suffix).exists();
        let length =
            |suffix| fs::metadata(dir.path("t", hour, suffix)).map_or(0, |file| file.len());
        // The rounds kill the run at four moments, unless it ends before.
        while child.try_wait().unwrap().is_none() {
            let now = match round % 4 {
                0 => exists(".jsonl.zst.tmp"),
                1 => length(".jsonl.zst.tmp") > 0,
                2 => length(".journal") > 0 && exists(".jsonl.zst.tmp"),
                _ => exists(".jsonl.zst") && !exists(".jsonl.zst.tmp"),
            };
            if now {
                break;
            }
        }
        child.kill().unwrap();
        if child.wait().unwrap().signal().is_some() {
            kills += 1;
        }
        assert!(dir.output("cat", &[]) == all, "round {round}");
        dir.output("archive", &[]);
        assert!(dir.output("cat", &[]) == all, "round {round}");
    }
    assert!(kills > 0, "no run was killed");
    let strange = |name: &String| !name.ends_with(".zst") && !name.ends_with(".journal");
    assert!(!dir.names().iter().any(strange), "{:?}", dir.names());
    dir.output("verify", &[]);
}

#[test]
fn a_full_disk_leaves_the_lines_and_no_temporary_file() {
    let dir = Dir::new();
    let Some(_disk) = SmallDisk::mount(dir.0.path(), "8m") else { return };
    let lines = trades(0..20_000);
    let path = dir.write("t", 0, &lines);
    let filler = dir.0.path().join("filler");
    let fill = fs::File::create(&filler).unwrap();
    // The filler takes all free space.
    while std::io::Write::write_all(&mut &fill, &[7; 4096]).is_ok() {}
    drop(fill);
    let full = dir.run("archive", &[]);
    assert_eq!(full.status.code(), Some(1));
    let printed = words(&full);
    assert!(printed.contains("failed ") && printed.contains(path.to_str().unwrap()), "{printed}");
    assert!(fs::read(&path).unwrap() == lines);
    assert_eq!(dir.names(), ["filler", "t_1699999200.jsonl"]);
    fs::remove_file(filler).unwrap();
    dir.output("archive", &[]);
    assert!(dir.output("cat", &[]) == lines);
}

#[test]
fn a_second_archive_run_at_the_same_time_is_refused() {
    let dir = Dir::new();
    dir.write("t", 0, trades(0..10));
    let lock = fs::File::create(dir.0.path().join(".streamer.archive.lock")).unwrap();
    lock.lock().unwrap();
    let refused = dir.run("archive", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("another run"), "{}", words(&refused));
    drop(lock);
    dir.output("archive", &[]);
}

#[test]
fn a_directory_that_does_not_exist_is_named_in_the_error() {
    let nowhere = Path::new("/nonexistent/hours");
    for command in ["archive", "ls", "cat", "verify"] {
        let output = run(&[command, "--dir", nowhere.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(words(&output).contains("/nonexistent/hours"), "{}", words(&output));
    }
}

#[test]
fn an_hour_without_read_permission_is_a_failure() {
    use std::os::unix::fs::PermissionsExt;
    let Some(mut setpriv) = tool("setpriv") else { return };
    if !rustix::process::geteuid().is_root() {
        // Without root, the test in the library covers this.
        return;
    }
    let dir = Dir::new();
    let path = dir.write("t", 0, "1\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(dir.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = dir.0.path().join("streamer");
    fs::copy(env!("CARGO_BIN_EXE_streamer"), &binary).unwrap();
    let output = setpriv
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["archive", "--dir", dir.0.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("Permission denied"), "{}", words(&output));
}

#[test]
fn readers_say_when_a_file_is_shorter_than_its_journal_says() {
    let dir = Dir::new();
    let first = trades(0..2_000);
    dir.write("t", 0, &first);
    dir.output("archive", &[]);
    let sealed = dir.path("t", 0, ".jsonl.zst");
    let first_frames = fs::read(&sealed).unwrap();
    // Late lines are sealed behind the others.
    dir.write("t", 0, trades(2_000..3_000));
    dir.output("archive", &[]);
    let whole = fs::read(&sealed).unwrap();
    assert!(whole.starts_with(&first_frames) && whole.len() > first_frames.len());
    assert_eq!(dir.output("cat", &[]), trades(0..3_000));
    let config = dir.0.path().join("config.json");
    let again = dir.0.path().join("again");
    let text = serde_json::json!({
        "source": { "type": "file", "paths": [sealed], "topics": ["t"] },
        "sinks": [{ "type": "jsonl", "output_dir": again }],
        "status_socket": "", "log_file": "",
    });
    fs::write(&config, text.to_string()).unwrap();
    let read_back = || run(&["run", "-config", config.to_str().unwrap()]);
    let cut_within = &whole[..first_frames.len() + 20];
    // The list of the frames stands at the end.
    let cut_list = &whole[..whole.len() - 5];
    for (content, printed) in [
        // At the end of a frame, at the start, and within a frame.
        (first_frames.as_slice(), first.as_slice()),
        (&[], &[]),
        (cut_within, first.as_slice()),
        (cut_list, trades(0..3_000).as_slice()),
    ] {
        fs::write(&sealed, content).unwrap();
        let cat = dir.run("cat", &[]);
        assert_eq!(cat.status.code(), Some(1), "{}", words(&cat));
        assert_eq!(cat.stdout, printed, "what is there is printed");
        let error = String::from_utf8(cat.stderr).unwrap();
        assert!(error.contains(sealed.to_str().unwrap()), "{error}");
        assert_eq!(dir.run("verify", &[]).status.code(), Some(1));
        let read = read_back();
        assert!(!read.status.success(), "{}", words(&read));
    }
    // Without a journal an empty file is known to be cut.
    fs::write(&sealed, "").unwrap();
    let journal = dir.path("t", 0, ".journal");
    let journal_text = fs::read(&journal).unwrap();
    fs::remove_file(&journal).unwrap();
    assert_eq!(dir.run("cat", &[]).status.code(), Some(1));
    // Lines behind the end of the frames, and no file at all.
    fs::write(&journal, journal_text).unwrap();
    fs::write(&sealed, [whole.as_slice(), b"garbage"].concat()).unwrap();
    let cat = dir.run("cat", &[]);
    assert_eq!((cat.status.code(), cat.stdout == trades(0..3_000)), (Some(1), true));
    fs::remove_file(&sealed).unwrap();
    let cat = dir.run("cat", &[]);
    assert_eq!(cat.status.code(), Some(1));
    assert!(words(&cat).contains("the file is gone"), "{}", words(&cat));
    assert!(!read_back().status.success());
}

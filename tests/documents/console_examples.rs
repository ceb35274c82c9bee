//! The commands in the console blocks of the documentation run against a live recording.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use streamer::exchange::Market;

use super::{documents, root, words};
use crate::harness::{TOPIC, Test, binary, python_with, run, tool};

/// The first second of an hour that the examples read: 2023-11-14T22:00:00Z.
const HOUR: u64 = 1_699_999_200;

/// A command of a console block, with the first line that follows it, if that is output.
struct Example {
    page: String,
    command: String,
    output: Option<String>,
}

/// The commands of the console blocks; a backslash at its end continues a line.
fn examples() -> Vec<Example> {
    let mut examples = Vec::new();
    for page in documents() {
        for block in page.blocks("console") {
            let mut lines = block.lines().peekable();
            while let Some(line) = lines.next() {
                let Some(first) = line.strip_prefix("$ ") else { continue };
                let mut command = first.to_owned();
                while command.ends_with('\\') {
                    write!(command, "\n{}", lines.next().unwrap()).unwrap();
                }
                let output = lines.peek().filter(|line| !line.starts_with("$ "));
                let output = output.map(|line| (*line).to_owned());
                examples.push(Example { page: page.name(), command, output });
            }
        }
    }
    examples
}

/// The treatment of a command of the documentation.
#[derive(Debug, PartialEq)]
enum Treatment {
    /// The command is run in the directory of a recording.
    Run,
    /// The command and its flags must exist.
    Parse,
    /// The command concerns the machine of the reader.
    Skip,
}

impl Example {
    fn treatment(&self) -> Treatment {
        let command = self.command.strip_prefix("sudo ").unwrap_or(&self.command);
        let mut words = command.split_whitespace();
        match words.next().unwrap() {
            "streamer" => {
                let stays = matches!(words.next(), None | Some("run" | "demo" | "init"));
                let elsewhere = command.contains("/etc/");
                if stays || elsewhere { Treatment::Parse } else { Treatment::Run }
            }
            "zstd" | "zstdcat" | "jq" | "duckdb" | "python" => Treatment::Run,
            "cargo" | "cp" | "mkdir" => Treatment::Skip,
            other => panic!("{}: what is done with `{other}`?", self.page),
        }
    }

    /// Returns whether the tools that the command needs are installed. `.ci/run` installs zstd and DuckDB, but
    /// neither jq nor pandas.
    fn has_tools(&self) -> bool {
        let uses =
            |name: &str| self.command.split(|c: char| !c.is_alphanumeric()).any(|w| w == name);
        let is_there = |name: &str| {
            let version = Command::new(name).arg("--version").stdout(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        };
        (!uses("zstdcat") && !uses("zstd") || tool("zstd").is_some())
            && (!uses("duckdb") || python_with("duckdb").is_some())
            && (!uses("jq") || is_there("jq"))
            && (!uses("pandas") || python_for_pandas().is_some())
    }

    /// Checks that the command and its flags are in the help.
    fn parse(&self) {
        let words: Vec<_> = self.command.split_whitespace().collect();
        let start = words.iter().position(|word| *word == "streamer").unwrap() + 1;
        let arguments = &words[start..];
        let command = arguments.iter().take(1).filter(|word| !word.starts_with('-'));
        let asked: Vec<_> = command.copied().chain(["--help"]).collect();
        let output = run(&asked);
        assert!(output.status.success(), "{}: `{}`", self.page, self.command);
        let help = String::from_utf8(output.stdout).unwrap();
        for flag in arguments.iter().filter(|word| word.starts_with('-')) {
            let name = flag.trim_start_matches('-');
            let known = help.contains(&format!("--{name}"));
            assert!(known, "{}: `{}`: there is no flag {flag}", self.page, self.command);
        }
    }
}

/// A Python with pandas.
fn python_for_pandas() -> Option<PathBuf> {
    let pythons = [root().join("target/test-tools/bin/python"), PathBuf::from("python3")];
    let has_pandas = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import pandas, zstandard"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    pythons.into_iter().find(has_pandas)
}

/// An exchange that runs. Killed when dropped.
pub(super) struct Exchange {
    process: Child,
    pub(super) url: String,
}

impl Exchange {
    pub(super) fn start() -> Self {
        let mut process = binary()
            .args(["demo", "--serve", "127.0.0.1:0", "--rate", "500"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.split_whitespace().find(|word| word.starts_with("ws://")).unwrap();
        let url = url.trim_end_matches(',').to_owned();
        Self { process, url }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // It has ended already in no test.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A directory with the programs that the examples name: `streamer`, `duckdb` and `python`.
fn write_programs(dir: &Path) {
    fs::create_dir(dir).unwrap();
    symlink(env!("CARGO_BIN_EXE_streamer"), dir.join("streamer")).unwrap();
    let write = |name: &str, script: String| {
        let path = dir.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let quoted = |python: &Path| python.display().to_string();
    if let Some(python) = python_with("duckdb") {
        let python = quoted(Path::new(python.get_program()));
        let query = "import duckdb, sys; print(duckdb.sql(sys.argv[2]))";
        write("duckdb", format!("#!/bin/sh\nexec '{python}' -c '{query}' \"$@\"\n"));
    }
    if let Some(python) = python_for_pandas() {
        write("python", format!("#!/bin/sh\nexec '{}' \"$@\"\n", quoted(&python)));
    }
}

#[expect(clippy::print_stderr, reason = "a test that proves nothing must not do so in silence")]
fn skipped(command: &str) {
    eprintln!("SKIPPED: a tool is missing for `{command}`");
}

#[test]
fn every_command_in_a_console_block_runs() {
    let exchange = Exchange::start();
    let test = Test::new(&exchange.url).set("archive", json!({ "schedule": "0 0 0 1 1 *" }));
    fs::create_dir(test.output()).unwrap();
    for hour in 0..2 {
        let path = test.output().join(format!("{TOPIC}_{}.jsonl", HOUR + 3600 * hour));
        fs::write(path, Market::new(TOPIC).lines(1000 * hour..1000 * (hour + 1))).unwrap();
    }
    // The recorder seals the old hours at its start.
    let recorder = test.start();
    recorder.wait_for_messages(100);
    recorder.wait_until(|status| status["archive"]["runs"] == 1);
    let programs = test.path("bin");
    write_programs(&programs);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let copied = Command::new("cp").arg("-a").arg(test.output()).arg(test.path("copy")).status();
    assert!(copied.unwrap().success());
    let mut treated: BTreeMap<String, u32> = BTreeMap::new();
    for example in examples() {
        let treatment = example.treatment();
        *treated.entry(format!("{treatment:?}")).or_default() += 1;
        match treatment {
            Treatment::Skip => continue,
            Treatment::Parse => {
                example.parse();
                continue;
            }
            Treatment::Run if !example.has_tools() => {
                skipped(&example.command);
                continue;
            }
            Treatment::Run => {}
        }
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &example.command])
            .current_dir(test.dir.path())
            .env("PATH", &path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = words(&output);
        assert!(output.status.success(), "{}: `{}`\n{said}", example.page, example.command);
        // Output has times and numbers of its own; its first words are always the same.
        let first = |text: &str| text.split_whitespace().next().map(str::to_owned);
        if let Some(shown) = &example.output {
            let real = String::from_utf8_lossy(&output.stdout);
            assert_eq!(first(&real), first(shown), "{}: `{}`", example.page, example.command);
        }
    }
    assert!(treated["Run"] > 20 && treated["Parse"] > 1, "{treated:?}");
    recorder.stop();
}

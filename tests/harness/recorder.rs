use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::tools::mount_file;
use super::{TOPIC, WAIT_LIMIT};

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamer"));
    command.env_remove("RUST_BACKTRACE");
    command
}

/// Runs the binary until it ends.
pub fn run(args: &[&str]) -> Output {
    binary().args(args).stdin(Stdio::null()).output().unwrap()
}

/// A configured recorder that does not run yet, with a temporary directory.
pub struct Test {
    pub dir: TempDir,
    config: Map<String, Value>,
    env: Vec<(String, String)>,
    /// Program that starts the recorder, with its arguments.
    wrapper: Vec<String>,
}

impl Test {
    /// Creates a test with the short form of the configuration.
    pub fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut test = Self { dir, config: Map::new(), env: Vec::new(), wrapper: Vec::new() };
        for (key, value) in [
            ("output_dir", json!(test.path("output"))),
            ("topic", json!(TOPIC)),
            ("ws_url", json!(url)),
            ("log_file", json!(test.path("log"))),
            ("status_socket", json!(test.path("socket"))),
        ] {
            test = test.set(key, value);
        }
        test
    }

    /// Creates a test with an explicit `websocket` source that has these further keys.
    pub fn with_source(url: &str, keys: Value) -> Self {
        let mut test = Self::new(url);
        test.config.remove("topic");
        test.config.remove("ws_url");
        let mut source = json!({ "type": "websocket", "url": url, "topics": [TOPIC] });
        source.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        test.set("source", source)
    }

    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.config.remove(key);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a program that starts the recorder. It must become the recorder, as `exec` does.
    pub fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Gives the recorder a file `hosts` of its own, if this machine allows it.
    pub fn with_hosts(mut self, text: &str) -> Option<Self> {
        let hosts = self.path("hosts");
        fs::write(&hosts, format!("127.0.0.1 localhost\n{text}")).unwrap();
        self.wrapper = mount_file(&hosts, "/etc/hosts")?;
        Some(self)
    }

    /// Gives the recorder name servers of its own, if this machine allows it.
    pub fn with_name_servers(mut self, addresses: &[&str]) -> Option<Self> {
        let file = self.path("resolv.conf");
        let lines = addresses.iter().map(|address| format!("nameserver {address}\n"));
        fs::write(&file, lines.collect::<String>()).unwrap();
        self.wrapper = mount_file(&file, "/etc/resolv.conf")?;
        Some(self)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn output(&self) -> PathBuf {
        self.path("output")
    }

    /// Writes the configuration and returns its path.
    pub fn config(&self) -> PathBuf {
        let path = self.path("config.json");
        fs::write(&path, serde_json::to_string_pretty(&self.config).unwrap()).unwrap();
        path
    }

    /// Returns the section `source` of the configuration.
    pub fn source(&self) -> Value {
        self.config["source"].clone()
    }

    /// Returns the binary with the configuration and the environment of the test.
    pub fn command(&self) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => binary(),
            Some((wrapper, args)) => {
                let mut command = Command::new(wrapper);
                command.args(args).arg(env!("CARGO_BIN_EXE_streamer"));
                command.env_remove("RUST_BACKTRACE");
                command
            }
        };
        command.arg("-config").arg(self.config()).envs(self.env.iter().cloned());
        command
    }

    /// Runs a recorder that must refuse to start, and returns its output.
    pub fn run_refused(&self) -> Output {
        // A recorder that starts all the same is killed, which shows in the exit code.
        let mut bounded = Command::new("timeout");
        bounded.args(["-s", "KILL", &WAIT_LIMIT.as_secs().to_string()]);
        bounded.arg(env!("CARGO_BIN_EXE_streamer")).arg("-config").arg(self.config());
        bounded.envs(self.env.iter().cloned()).env_remove("RUST_BACKTRACE");
        bounded.stdin(Stdio::null()).output().unwrap()
    }

    /// Starts the recorder and waits until its log, which goes to stdout, reports the start.
    pub fn start(&self) -> Recorder {
        let mut child = self
            .command()
            .arg("-debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let recorder = Recorder { child, lines, config: self.path("config.json") };
        recorder.wait_for(&["started"]);
        recorder
    }

    /// Returns the contents of all `.jsonl` files, in the order of the hours.
    pub fn recorded(&self) -> Vec<u8> {
        self.files().iter().flat_map(|file| fs::read(file).unwrap()).collect()
    }

    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.output())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        files.sort();
        files
    }

    /// Returns all events of all journals, in the order of the hours.
    pub fn journal(&self) -> Vec<Value> {
        self.journals(|_| true)
    }

    /// Returns all events of the journals of a stem.
    pub fn journal_of(&self, stem: &str) -> Vec<Value> {
        self.journals(|name| name.rsplit_once('_').is_some_and(|(own, _)| own == stem))
    }

    fn journals(&self, wanted: impl Fn(&str) -> bool) -> Vec<Value> {
        let entries = fs::read_dir(self.output()).unwrap();
        let mut journals: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
            .filter(|path| wanted(path.file_name().unwrap().to_str().unwrap()))
            .collect();
        journals.sort();
        let text: String = journals.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a command on the archive and returns the JSON objects that it prints, without the time
    /// before the recording began.
    pub fn query(&self, command: &str) -> Vec<Value> {
        let is_recorded = |object: &Value| object["kind"] != "not_recorded";
        self.query_all(command).into_iter().filter(is_recorded).collect()
    }

    /// Runs a command on the archive and returns the JSON objects that it prints.
    pub fn query_all(&self, command: &str) -> Vec<Value> {
        let config = self.config();
        let output = run(&[command, "--json", "-config", config.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the gaps, each as `down eof exact`, without the last one: that no recorder runs.
    pub fn gaps(&self) -> Vec<String> {
        let word = |gap: &Value, key: &str| gap[key].as_str().unwrap().to_owned();
        let mut gaps = self.query("gaps");
        let last = gaps.pop().unwrap();
        assert_eq!(last["kind"], "not_running");
        // It goes on until the end of the hour.
        let is_end_of_hour = |to: &str| to.ends_with(":00:00.000Z");
        assert!(last["to"].as_str().is_none_or(is_end_of_hour), "{last}");
        gaps.iter()
            .map(|gap| ["kind", "cause", "certainty"].map(|key| word(gap, key)).join(" "))
            .collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// A running recorder, which is killed when this is dropped.
pub struct Recorder {
    child: Child,
    lines: Receiver<String>,
    config: PathBuf,
}

impl Recorder {
    /// Waits for a line in the log that contains all of `needles`, and returns it.
    pub fn wait_for(&self, needles: &[&str]) -> String {
        let mut seen = Vec::new();
        let deadline = Instant::now() + WAIT_LIMIT;
        while let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) {
            if needles.iter().all(|needle| line.contains(needle)) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {needles:?} in the log:\n{}", seen.join("\n"));
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Queries the status from the socket.
    pub fn status(&self) -> Value {
        let output = binary().args(["status", "--json", "-config"]).arg(&self.config).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Queries the status as a line for people.
    pub fn status_line(&self) -> String {
        let output = binary().args(["status", "-config"]).arg(&self.config).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Queries the status until `wanted` accepts it, and returns it.
    pub fn wait_until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "the status did not become as wanted: {status:#}");
        }
    }

    pub fn wait_for_messages(&self, count: u64) {
        self.wait_until(|status| status["messages"].as_u64().unwrap() >= count);
    }

    /// Stops the recorder, which must end with success.
    pub fn stop(mut self) {
        self.signal("TERM");
        assert!(self.wait().success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT_LIMIT;
        // The stdout of the process closes when the process ends.
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        assert!(Instant::now() < deadline, "the recorder did not end");
        self.child.wait().unwrap()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn memory_kib(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // In most tests the recorder has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

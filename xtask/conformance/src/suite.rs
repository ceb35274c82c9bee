//! The Autobahn test suite: its installation, its server and its reports.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::message_decoder::{CLOSE, find_head_end, split_frame};
use crate::report;

/// The name under which the suite files its verdicts.
pub(crate) const AGENT: &str = "streamer";
/// The last release of the suite, which runs on Python 2.7 alone.
const PACKAGE: &str = "autobahntestsuite==25.10.1";
/// The last release of virtualenv that makes environments for Python 2.7.
const VIRTUALENV: &str = "virtualenv<20.22";
const START_LIMIT: Duration = Duration::from_secs(30);

/// The running server of the suite.
pub(crate) struct Suite {
    server: Child,
    pub(crate) address: String,
    reports: PathBuf,
    /// Directory for the files of the cases.
    pub(crate) scratch: tempfile::TempDir,
}

impl Suite {
    /// Installs the suite below `dir` unless it is there, and starts its server.
    pub(crate) fn start(dir: &Path, cases: &[String]) -> Result<Self> {
        let dir = fs::canonicalize(dir)?;
        let wstest = install(&dir)?;
        let reports = dir.join("reports");
        if reports.exists() {
            fs::remove_dir_all(&reports)?;
        }
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let spec = dir.join("spec.json");
        let keys = json!({
            "url": format!("ws://{address}"), "outdir": reports,
            "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
        });
        fs::write(&spec, keys.to_string())?;
        let log = fs::File::create(dir.join("suite.log"))?;
        let server = Command::new(wstest)
            .args(["--mode", "fuzzingserver", "--webport", "0", "--spec"])
            .arg(&spec)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the suite")?;
        let suite = Self { server, address, reports, scratch: tempfile::tempdir_in(&dir)? };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(&suite.address).is_err() {
            if Instant::now() > deadline {
                bail!("the suite does not start; see `{}`", dir.join("suite.log").display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(suite)
    }

    /// Returns the number of cases.
    pub(crate) fn case_count(&self) -> Result<u32> {
        let count = self.request("/getCaseCount")?;
        count.trim().parse().with_context(|| format!("`{count}` is no count"))
    }

    /// Lets the suite write its reports, and returns the file with the verdicts.
    pub(crate) fn finish(&self) -> Result<PathBuf> {
        self.request(&format!("/updateReports?agent={AGENT}"))?;
        Ok(self.reports.join("index.json"))
    }

    /// Connects to a path of the suite and returns the text that it sends before it closes.
    fn request(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let host = &self.address;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let mut text = Vec::new();
        let mut input = Vec::new();
        let mut is_head_read = false;
        let mut block = [0; 4096];
        loop {
            let count = stream.read(&mut block)?;
            if count == 0 {
                bail!("the suite closed the connection to `{path}`");
            }
            input.extend_from_slice(block.get(..count).unwrap_or_default());
            if !is_head_read && let Some(end) = find_head_end(&input) {
                input.drain(..end);
                is_head_read = true;
            }
            while is_head_read && let Some(frame) = split_frame(&mut input) {
                if frame.opcode == CLOSE {
                    // The masked answer; the suite may not wait for it.
                    drop(stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]));
                    return Ok(String::from_utf8(text)?);
                }
                text.extend(frame.payload);
            }
        }
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// Installs the suite into an environment of its own, and returns its program.
fn install(dir: &Path) -> Result<PathBuf> {
    let wstest = dir.join("suite/bin/wstest");
    if wstest.exists() {
        return Ok(wstest);
    }
    let python = find_python().context(
        "the suite needs Python 2.7, which is not here: install it (`pyenv install 2.7.18`) so \
         that `python2.7` is on the PATH, or set PYTHON2 to it",
    )?;
    report("installing the suite");
    let tools = dir.join("tools");
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
        .arg(&tools)
        .arg(VIRTUALENV))?;
    run(Command::new(&python)
        .env("PYTHONPATH", &tools)
        .args(["-m", "virtualenv", "--quiet"])
        .arg(dir.join("suite")))?;
    run(Command::new(dir.join("suite/bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    Ok(wstest)
}

/// Returns an interpreter of Python 2.7: `PYTHON2`, one on the PATH, or one of pyenv.
fn find_python() -> Option<PathBuf> {
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let versions = pyenv.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let versions = versions.into_iter().flatten().flatten();
    let of_pyenv = versions.map(|version| version.path().join("bin/python2.7"));
    let candidates = std::env::var_os("PYTHON2").map(PathBuf::from).into_iter();
    let candidates = candidates.chain([PathBuf::from("python2.7")]).chain(of_pyenv);
    candidates.into_iter().find(|python| {
        let version = Command::new(python).arg("-V").stderr(Stdio::piped()).output();
        version.is_ok_and(|output| output.status.success())
    })
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}

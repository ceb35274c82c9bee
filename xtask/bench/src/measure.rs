//! Measures the cost of one client against one exchange.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};

/// The interval between two samples of memory.
const SAMPLE: Duration = Duration::from_millis(10);

/// The cost of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: u64,
    /// The bytes of lines that it wrote.
    pub(crate) bytes: u64,
}

/// The exchange that a client is measured against, which is killed when this is dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
}

impl Served {
    pub(crate) fn start(rate: u64, count: u64, tls: Option<&Path>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--rate", &rate.to_string(), "--count", &count.to_string()]);
        if let Some(dir) = tls {
            command.arg("--tls").arg(dir);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        let stdout = child.stdout.take().context("the exchange has no stdout")?;
        BufReader::new(stdout).read_line(&mut url)?;
        Ok(Self { child, url: url.trim().to_owned() })
    }

    /// Returns host and port of the endpoint.
    pub(crate) fn address(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // An exchange that has ended by itself has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the client until it ends by itself, or until it has written `until` bytes of lines: then it
/// gets a signal to stop.
pub(crate) fn measure(mut client: Command, dir: &Path, until: Option<u64>) -> Result<Cost> {
    let before = children_cpu()?;
    let begun = Instant::now();
    let mut child = client.stdout(Stdio::null()).spawn().context("cannot start the client")?;
    let mut peak_kib = 0;
    let mut wall = None;
    let status = loop {
        peak_kib = peak_kib.max(peak_memory(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if wall.is_none() && until.is_some_and(|bytes| written(dir) >= bytes) {
            wall = Some(begun.elapsed());
            Command::new("kill").arg(child.id().to_string()).status()?;
        }
        if begun.elapsed() > Duration::from_secs(120) {
            child.kill()?;
            bail!("the client did not end within two minutes");
        }
        std::thread::sleep(SAMPLE);
    };
    if !status.success() {
        bail!("the client failed: {status}");
    }
    let wall = wall.unwrap_or_else(|| begun.elapsed());
    // The exchange has not been waited for yet, so this is the time of the client alone.
    let cpu = children_cpu()?.saturating_sub(before);
    Ok(Cost { wall, cpu, peak_kib, bytes: written(dir) })
}

fn children_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0)
    };
    Ok(Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())))
}

fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Returns the bytes of all lines in the directory.
fn written(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter(|file| file.path().extension().is_some_and(|e| e == "jsonl"))
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

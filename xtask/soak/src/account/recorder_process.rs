//! The recorder of a scenario.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::lifecycle::Lifecycle;
use crate::faketime;

/// The longest time that a stop may take; the configurations allow three seconds and one more.
const LONGEST_STOP: Duration = Duration::from_secs(15);

/// A recorder that is started again and again with the same configuration.
#[derive(Debug)]
pub(super) struct RecorderProcess {
    binary: PathBuf,
    config: PathBuf,
    output: PathBuf,
    child: Option<Child>,
    lifecycle: Lifecycle,
    /// Seconds by which the clock of the next run is ahead.
    clock_offset: i64,
    faketime: Option<PathBuf>,
}

impl RecorderProcess {
    /// Writes the configuration of a recorder that does not run yet.
    pub(super) fn new(binary: &Path, dir: &Path, config: &Value) -> Result<Self> {
        let path = dir.join("config.json");
        fs::write(&path, serde_json::to_string_pretty(config)?)?;
        let binary = binary.to_owned();
        Ok(Self {
            binary,
            config: path,
            output: dir.join("stderr"),
            child: None,
            lifecycle: Lifecycle::Running,
            clock_offset: 0,
            faketime: faketime::find_library(),
        })
    }

    pub(super) fn start(&mut self) -> Result<()> {
        let output = File::options().create(true).append(true).open(&self.output)?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        self.child = Some(command.spawn().context("cannot start the recorder")?);
        self.lifecycle = Lifecycle::Running;
        Ok(())
    }

    /// Sets the clock of later runs, if that is possible here.
    pub(super) fn set_clock(&mut self, offset: i64) {
        self.clock_offset = if self.faketime.is_some() { offset } else { 0 };
    }

    /// Returns the seconds by which the clock of the next run is ahead.
    pub(super) fn clock_offset(&self) -> i64 {
        self.clock_offset
    }

    /// Ends the recorder without giving it a chance.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.check_runs()?;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the recorder to stop.
    pub(super) fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.lifecycle = Lifecycle::Stopping;
        Ok(())
    }

    /// Sends a signal to the recorder. One that was asked to stop may have ended.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<()> {
        self.check_runs()?;
        kill_process(self.pid()?, signal)?;
        Ok(())
    }

    /// Waits until a recorder that was asked to stop has ended.
    pub(super) fn await_end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let deadline = Instant::now() + LONGEST_STOP;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!("the recorder did not stop within {} s", LONGEST_STOP.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Sends a signal to the programs that the recorder has started, if there are any.
    pub(super) fn signal_children(&self, signal: Signal) -> Result<()> {
        let tasks = format!("/proc/{}/task", self.pid()?.as_raw_nonzero());
        for task in fs::read_dir(tasks)? {
            let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                if let Some(pid) = Pid::from_raw(pid) {
                    ignore_ended(kill_process(pid, signal))?;
                }
            }
        }
        Ok(())
    }

    /// Runs a command of the recorder's binary by the clock of the recorder. It must succeed.
    /// Returns its output.
    pub(super) fn query(&self, args: &[&str]) -> Result<String> {
        let output = self.command().args(args).output()?;
        if !output.status.success() {
            bail!(
                "`streamer {}` failed: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Returns a command of the binary, whose clock is that of the next run.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("-config").arg(&self.config);
        if let Some(library) = self.faketime.as_ref().filter(|_| self.clock_offset != 0) {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME", format!("{:+}", self.clock_offset))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("NO_FAKE_STAT", "1");
        }
        command
    }

    fn pid(&self) -> Result<Pid> {
        let child = self.child.as_ref().context("the recorder does not run")?;
        let pid = i32::try_from(child.id())?;
        Pid::from_raw(pid).context("a process without a number")
    }

    fn check_runs(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the recorder does not run")?;
        if self.lifecycle == Lifecycle::Stopping {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the recorder ended by itself ({status}); see its log");
        }
        Ok(())
    }
}

/// Returns success for a process that has ended meanwhile.
fn ignore_ended(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::SRCH) { Ok(()) } else { result }
}

impl Drop for RecorderProcess {
    fn drop(&mut self) {
        // A recorder that a failed scenario leaves behind, and one that still runs in the end.
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

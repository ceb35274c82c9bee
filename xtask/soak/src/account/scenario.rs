//! One scenario: a fresh directory, a server, a recorder and the faults of a plan.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use streamer::time::{Clock as _, SystemClock};

use super::OUTPUT;
use super::action::Action;
use super::comparison::Comparison;
use super::ending::Ending;
use super::fault_log::FaultLog;
use super::plan::Plan;
use super::recorder_process::RecorderProcess;
use super::recording::Recording;
use super::run_clocks::RunClocks;
use super::scenario_report::ScenarioReport;
use super::server::RunningServer;
use super::told_gap::ToldGap;
use super::truth::Truth;
use crate::small_disk::SmallDisk;

/// The size of a disk that is small.
const DISK_SIZE: &str = "16m";
/// The time for which the server ticks on after the recorder has ended.
const AFTERMATH: Duration = Duration::from_millis(200);
/// The longest time in which a recorder that still runs writes what it has received.
const LONGEST_SETTLING: Duration = Duration::from_secs(3);

/// A scenario that runs.
#[derive(Debug)]
pub(super) struct Scenario<'a> {
    plan: &'a Plan,
    dir: &'a Path,
    /// Directory of the archive.
    output: PathBuf,
    server: RunningServer,
    recorder: RecorderProcess,
    /// The disk of the archive; `None` if it is never full.
    disk: Option<SmallDisk>,
    log: FaultLog,
    clocks: RunClocks,
}

impl<'a> Scenario<'a> {
    /// Runs a plan in a directory, and compares the account with the truth.
    pub(super) fn run(plan: &'a Plan, binary: &Path, dir: &'a Path) -> Result<ScenarioReport> {
        let server = RunningServer::start(plan.setup.topics())?;
        let output = dir.join(if plan.setup.has_small_disk() { "disk" } else { OUTPUT });
        fs::create_dir(&output)?;
        let mut disk = None;
        if plan.setup.has_small_disk() {
            disk = SmallDisk::mount(&output, DISK_SIZE);
        }
        let config = plan.setup.config(&plan.variation, dir, &output, &server.url());
        let recorder = RecorderProcess::new(binary, dir, &config)?;
        let mut scenario = Self {
            plan,
            dir,
            output,
            server,
            recorder,
            disk,
            log: FaultLog::default(),
            clocks: RunClocks::default(),
        };
        for action in &plan.actions {
            scenario.perform(*action).with_context(|| format!("{action} failed"))?;
        }
        scenario.finish()
    }

    fn perform(&mut self, action: Action) -> Result<()> {
        let mut time = now();
        match action {
            Action::Wait(time) => {
                std::thread::sleep(time);
                return Ok(());
            }
            Action::Server(command) => time = self.server.perform(command)?,
            Action::SetClock(offset) => self.recorder.set_clock(offset),
            Action::Start => {
                self.clocks.begin(self.recorder.clock_offset(), time);
                self.recorder.start()?;
            }
            Action::Kill => {
                self.recorder.kill()?;
                self.clocks.end(now());
            }
            Action::Terminate => self.recorder.terminate()?,
            Action::AwaitEnd => {
                self.recorder.await_end()?;
                time = now();
                self.clocks.end(time);
            }
            Action::Suspend => self.recorder.signal(Signal::STOP)?,
            Action::Continue => self.recorder.signal(Signal::CONT)?,
            Action::SuspendStage => self.recorder.signal_children(Signal::STOP)?,
            Action::ContinueStage => self.recorder.signal_children(Signal::CONT)?,
            Action::FillDisk => self.disk.as_ref().map_or(Ok(()), SmallDisk::fill)?,
            Action::FreeDisk => self.disk.as_ref().map_or(Ok(()), SmallDisk::free)?,
            Action::KillStage => self.recorder.signal_children(Signal::KILL)?,
        }
        self.log.add(time, action);
        Ok(())
    }

    fn finish(mut self) -> Result<ScenarioReport> {
        match self.plan.ending {
            Ending::Running => {}
            Ending::Stopped => {
                self.perform(Action::Terminate)?;
                self.perform(Action::AwaitEnd)?;
                std::thread::sleep(AFTERMATH);
            }
            Ending::Killed => {
                self.perform(Action::Kill)?;
                std::thread::sleep(AFTERMATH);
            }
        }
        let Self { plan, dir, output, server, recorder, disk, log, mut clocks } = self;
        let truth = server.finish()?;
        let recording = read_settled(plan, &output, &truth)?;
        let gaps = recorder.query(&["gaps", "--json"])?;
        clocks.end(now());
        let gaps = gaps.lines().filter_map(|line| ToldGap::parse(line, &clocks).transpose());
        let mut gaps: Vec<_> = gaps.collect::<Result<_>>()?;
        gaps.sort_by_key(|gap| (gap.from, gap.to));
        if disk.is_some() {
            copy_files(&output, &dir.join(OUTPUT))?;
        }
        let comparison = Comparison::new(plan.setup, &truth, recording, &gaps);
        Ok(ScenarioReport { comparison, log, clocks, lateness: truth.lateness })
    }
}

/// Reads the archive, of a recorder that still runs once everything that came is written.
fn read_settled(plan: &Plan, output: &Path, truth: &Truth) -> Result<Recording> {
    let deadline = Instant::now() + LONGEST_SETTLING;
    loop {
        let recording = Recording::read(output, plan.setup, truth)?;
        let waits = plan.ending == Ending::Running && Instant::now() < deadline;
        if !waits || recording.is_caught_up() {
            return Ok(recording);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Copies the files of a disk that is about to be unmounted.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn now() -> u64 {
    SystemClock.now().nanos()
}

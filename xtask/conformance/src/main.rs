//! `cargo xtask conformance`: the Autobahn test suite for WebSocket clients, against the recorder.
//!
//! The suite's server sends messages and judges the client by what it echoes. A recorder echoes
//! nothing, so a proxy between the two does: it sends back each message once its line is in the
//! recorder's file. The verdict of the suite is then a verdict on the recording.

mod case;
mod echo;
mod message_decoder;
mod recorded_lines;
mod suite;
mod verdicts;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::case::run_case;
use crate::suite::Suite;
use crate::verdicts::Verdicts;

#[derive(Parser)]
#[command(
    name = "cargo xtask conformance",
    about = "Run the Autobahn test suite against the recorder"
)]
struct Args {
    /// Cases to run, as the suite numbers them, such as `6.*` or `12.1.3`
    #[arg(long, default_value = "*")]
    cases: Vec<String>,
    /// Number of cases that run at the same time
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Directory for the suite and its reports
    #[arg(long, default_value = "target/conformance")]
    dir: PathBuf,
    /// Binary of the recorder
    #[arg(long, default_value = "target/release/streamer")]
    binary: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let binary = std::fs::canonicalize(&args.binary)
        .with_context(|| format!("there is no `{}`", args.binary.display()))?;
    std::fs::create_dir_all(&args.dir)?;
    let suite = Suite::start(&args.dir, &args.cases)?;
    let count = suite.case_count()?;
    report(&format!("{count} cases"));
    let faults = run_cases(&suite, &binary, count, args.jobs);
    for fault in &faults {
        report(fault);
    }
    let verdicts = Verdicts::read(&suite.finish()?)?;
    print(&verdicts.to_table());
    if verdicts.failed.is_empty() && faults.is_empty() {
        return Ok(());
    }
    bail!(
        "failed: {} of the suite's verdicts ({}), {} recordings; the reports are in `{}`",
        verdicts.failed.len(),
        verdicts.failed.join(", "),
        faults.len(),
        args.dir.display()
    )
}

/// Runs all cases, several at a time. Returns what is wrong with the recordings.
fn run_cases(suite: &Suite, binary: &Path, count: u32, jobs: usize) -> Vec<String> {
    let next = AtomicU32::new(1);
    let faults = Mutex::new(Vec::new());
    let add_fault = |case: u32, text: &str| {
        let mut faults = faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        faults.push(format!("case number {case}: {text}"));
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case > count {
                        return;
                    }
                    match run_case(suite, binary, case) {
                        Ok(None) => {}
                        Ok(Some(fault)) => add_fault(case, &fault),
                        Err(error) => add_fault(case, &format!("{error:#}")),
                    }
                    if case.is_multiple_of(50) {
                        report(&format!("case {case} of {count}"));
                    }
                }
            });
        }
    });
    faults.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[expect(clippy::print_stderr, reason = "this is where messages meet their reader")]
fn report(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(text: &str) {
    println!("{text}");
}

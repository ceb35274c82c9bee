//! `cargo xtask soak --account`: compares what the recorder tells of its losses with the truth.
//!
//! A server makes ticks whether or not anybody listens, and sends each to those who listen at that
//! moment. Faults are injected as a seed says. In the end every tick that is not in the files must
//! lie in a gap that `streamer gaps` tells, exact gaps must be exact, and no line may be torn,
//! altered, doubled or out of order.

mod account_args;
mod action;
mod cause_table;
mod cause_total;
mod comparison;
mod cut;
mod discrepancy;
mod ending;
mod fault_log;
mod gap_content;
mod lifecycle;
mod plan;
mod plan_builder;
mod recorder_process;
mod recording;
mod run_clock;
mod run_clocks;
mod scenario;
mod scenario_report;
mod server;
mod setup;
mod target;
mod tick;
mod timeline;
mod timeline_line;
mod told_gap;
mod topic_truth;
mod truth;
mod variation;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use streamer::time::UnixNanos;

pub(crate) use self::account_args::AccountArgs;
use self::comparison::Comparison;
use self::discrepancy::Discrepancy;
use self::fault_log::FaultLog;
use self::plan::Plan;
use self::run_clocks::RunClocks;
use self::scenario::Scenario;
use self::scenario_report::ScenarioReport;
use self::timeline::Timeline;
use crate::report;

/// The directory that has the archive of a scenario in the end.
const OUTPUT: &str = "output";
/// The time between two ticks of a topic.
const TICK_INTERVAL: Duration = Duration::from_millis(20);
/// Nanoseconds by which gaps may be shorter, and exact ones longer, than what is missing.
const TOLERANCE: u64 = 25_000_000;

/// The number of discrepancies of a scenario that are reported, of those at different times.
const MAX_REPORTED: usize = 5;

/// Runs scenarios until the time is over. Fails if the account of one is not true.
pub(crate) fn run(args: &AccountArgs) -> Result<()> {
    let mut total = Comparison::default();
    let mut failed = 0;
    let share = Duration::from_secs(args.seconds / args.seeds.max(1));
    for seed in args.seed..args.seed + args.seeds {
        report(&format!("seed {seed}"));
        failed += run_seed(args, seed, share, &mut total)?;
    }
    report(&total.table.to_string());
    let recorded = total.made - total.missing;
    report(&format!(
        "{} ticks made, {recorded} recorded, {} missing, {} outside a gap, {} only in possible gaps; \
         {} recorded twice",
        total.made, total.missing, total.outside, total.only_possible, total.doubled
    ));
    if failed > 0 {
        bail!("{failed} scenarios failed");
    }
    Ok(())
}

/// Runs the scenarios of a seed and returns the number of those that failed.
fn run_seed(
    args: &AccountArgs,
    seed: u64,
    lasting: Duration,
    total: &mut Comparison,
) -> Result<usize> {
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let shared = Mutex::new(total);
    let work = || -> Result<usize> {
        let mut failed = 0;
        while begun.elapsed() < lasting {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if args.scenario.is_some() && number > 0 {
                break;
            }
            let comparison = run_scenario(args, seed, args.scenario.unwrap_or(number))?;
            failed += usize::from(!comparison.discrepancies.is_empty());
            let Ok(mut total) = shared.lock() else { bail!("another thread panicked") };
            total.merge(&comparison);
        }
        Ok(failed)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.parallel.max(1)).map(|_| scope.spawn(work)).collect();
        let mut failed = 0;
        for thread in threads {
            let Ok(of_thread) = thread.join() else { bail!("a scenario panicked") };
            failed += of_thread?;
        }
        Ok(failed)
    })
}

/// Runs a scenario and reports what it found. The directory of one that failed is kept.
fn run_scenario(args: &AccountArgs, seed: u64, number: usize) -> Result<Comparison> {
    let plan = Plan::new(seed, number);
    let title = format!("seed {seed}, scenario {number} ({}, {})", plan.setup, plan.ending);
    let dir = tempfile::tempdir()?;
    let binary = std::fs::canonicalize(&args.binary)
        .with_context(|| format!("there is no `{}`", args.binary.display()))?;
    let (comparison, log, clocks) = match Scenario::run(&plan, &binary, dir.path()) {
        Ok(ScenarioReport { comparison, log, clocks, lateness }) => {
            let Comparison { made, missing, outside, .. } = comparison;
            let late = lateness.as_millis();
            report(&format!(
                "{title}: {made} ticks, {missing} missing, {outside} outside; the server was up to {late} ms late"
            ));
            (comparison, log, clocks)
        }
        Err(error) => (Comparison::failed(&error), FaultLog::default(), RunClocks::default()),
    };
    if comparison.discrepancies.is_empty() {
        return Ok(comparison);
    }
    let mut distinct: Vec<&Discrepancy> = Vec::new();
    for discrepancy in &comparison.discrepancies {
        if !distinct.iter().any(|earlier| discrepancy.is_near(earlier)) {
            distinct.push(discrepancy);
        }
    }
    for discrepancy in distinct.into_iter().take(MAX_REPORTED) {
        let timeline = Timeline::around(discrepancy, &log, &clocks, &dir.path().join(OUTPUT))?;
        report(&format!("{title}: FAILED: {}{timeline}", discrepancy.text));
    }
    let count = comparison.discrepancies.len();
    let kept = dir.keep();
    report(&format!("{title}: {count} discrepancies; the files are kept in {}", kept.display()));
    Ok(comparison)
}

/// Returns a time as `streamer gaps` prints it.
fn format_time(nanos: u64) -> String {
    UnixNanos::new(nanos).to_string()
}

//! `cargo xtask soak`: injects faults into a running recorder, and then checks its archive.
//!
//! The faults are kill -9, a stop and a start, a server that drops the connection, a full disk, and a
//! clock that steps over hours. Afterwards every line must be one that was sent, no line may be torn
//! or doubled, and `verify` must succeed.
//!
//! With `--account` the gaps that the recorder tells are compared with what was sent.

mod account;
mod check;
mod faketime;
mod recorder;
mod small_disk;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use streamer::exchange::{Exchange, ExchangeOptions};
use tokio_util::sync::CancellationToken;

use crate::account::AccountArgs;
use crate::recorder::Recorder;

/// The rate of the exchange, in trades a second.
const RATE: u64 = 2_000;
/// The number of trades after which the exchange drops the connection.
const DROP_EVERY: u64 = 37_000;

#[derive(Parser)]
#[command(
    name = "cargo xtask soak",
    about = "Inject faults into the recorder, then check its archive"
)]
struct Args {
    /// Compare the gaps that the recorder tells with what a ticking server sent
    #[arg(long)]
    account: bool,
    /// Minutes to run, without `--account`
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Seconds to run with `--account`, over all seeds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Number of seeds to run with `--account`, counted from the first
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Number of scenarios at a time with `--account`
    #[arg(long, default_value_t = 6)]
    parallel: usize,
    /// The only scenario to run of each seed with `--account`
    #[arg(long)]
    scenario: Option<usize>,
    /// Seed of the sequence of faults; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// Binary of the recorder
    #[arg(long, default_value = "target/release/streamer")]
    binary: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    if args.account {
        return account::run(&AccountArgs {
            binary: args.binary,
            seed,
            seeds: args.seeds,
            seconds: args.seconds,
            parallel: args.parallel,
            scenario: args.scenario,
        });
    }
    report(&format!("seed {seed}"));
    let dir = tempfile::tempdir()?;
    let (url, exchange) = serve()?;
    let mut recorder = Recorder::new(&args.binary, dir.path(), &url)?;
    let faults = inject_faults(&mut recorder, Duration::from_secs(args.minutes * 60), seed);
    let stopped = faults.and_then(|()| recorder.stop());
    let checked = stopped.and_then(|()| check::check(&recorder, exchange));
    if checked.is_err() {
        report(&format!("the files are kept in {}", dir.keep().display()));
    }
    checked
}

/// Starts the exchange. Returns its endpoint, and the handle that stops it and has its count.
fn serve() -> Result<(String, check::RunningExchange)> {
    let stop = CancellationToken::new();
    let options = ExchangeOptions {
        rate: RATE,
        drop_at: (1..100_000).map(|drop| drop * DROP_EVERY).collect(),
        ..ExchangeOptions::default()
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || -> Result<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let exchange = Exchange::bind("127.0.0.1:0", options).await?;
            sender.send(exchange.url()?)?;
            Ok(exchange.serve(&stopped).await)
        })
    });
    let url = receiver.recv().context("the exchange does not start")?;
    Ok((url, check::RunningExchange { stop, thread }))
}

fn inject_faults(recorder: &mut Recorder, lasting: Duration, seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    recorder.start()?;
    let mut offset: i64 = 0;
    while begun.elapsed() < lasting {
        std::thread::sleep(Duration::from_millis(random.u64(500..8_000)));
        match random.u8(0..10) {
            0..=3 => {
                report("kill -9");
                recorder.kill()?;
                std::thread::sleep(Duration::from_millis(random.u64(0..1_500)));
                recorder.start()?;
            }
            4 | 5 => {
                report("stop and start");
                recorder.stop()?;
                recorder.start()?;
            }
            6 | 7 => fill_the_disk(recorder, random.u64(1_000..6_000))?,
            _ => {
                // The clock goes on by up to 2.5 hours, and every third time back.
                offset += if random.u8(0..3) == 0 { -5_000 } else { random.i64(100..9_000) };
                if recorder.set_clock(offset)? {
                    report(&format!("the clock is off by {offset} s"));
                }
            }
        }
    }
    Ok(())
}

fn fill_the_disk(recorder: &Recorder, millis: u64) -> Result<()> {
    let Some(disk) = recorder.small_disk() else { return Ok(()) };
    report("the disk is full");
    disk.fill()?;
    std::thread::sleep(Duration::from_millis(millis));
    disk.free()
}

/// Runs a command of the recorder's binary, which must succeed, and returns its output.
fn run_command(binary: &Path, config: &Path, args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(binary).args(args).arg("-config").arg(config).output()?;
    if !output.status.success() {
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("`streamer {}` failed:\n{out}{err}", args.join(" "));
    }
    Ok(output.stdout)
}

#[expect(clippy::print_stderr, reason = "this is where messages meet their reader")]
fn report(text: &str) {
    eprintln!("{text}");
}

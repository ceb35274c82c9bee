//! `cargo xtask soak`: ill-treats the recorder for a while, and then asks its archive to account for
//! itself. The deeds: kill -9, a stop and a start, a server that drops the connection, a disk that is
//! full, a clock that steps over hours. Afterwards every line must be one that was sent, none torn
//! and none twice, and `verify` content.

mod check;
mod recorder;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use streamer::exchange::{Exchange, Options};
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorder;

/// Trades a second.
const RATE: u64 = 2_000;
/// The server drops the connection each time that this many trades were sent.
const DROP_EVERY: u64 = 37_000;

#[derive(Parser)]
#[command(name = "cargo xtask soak", about = "Ill-treat the recorder, then check its archive")]
struct Args {
    /// For how long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The deeds are those of this number; another each time without it
    #[arg(long)]
    seed: Option<u64>,
    /// The recorder's binary
    #[arg(long, default_value = "target/release/streamer")]
    binary: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    say(&format!("seed {seed}"));
    let dir = tempfile::tempdir()?;
    let (url, sent) = serve()?;
    let mut recorder = Recorder::new(&args.binary, dir.path(), &url)?;
    let deeds = ill_treat(&mut recorder, Duration::from_secs(args.minutes * 60), seed);
    let stopped = deeds.and_then(|()| recorder.stop());
    let checked = stopped.and_then(|()| check::check(&recorder, sent));
    if checked.is_err() {
        say(&format!("what there is stays in {}", dir.keep().display()));
    }
    checked
}

/// Starts the exchange. Gives its endpoint, and a way to stop it and learn how much it sent.
fn serve() -> Result<(String, check::Sent)> {
    let stop = CancellationToken::new();
    let options = Options {
        rate: RATE,
        drop_at: (1..100_000).map(|drop| drop * DROP_EVERY).collect(),
        ..Options::default()
    };
    let (tell, told) = std::sync::mpsc::channel();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || -> Result<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let exchange = Exchange::bind("127.0.0.1:0", options).await?;
            tell.send(exchange.url()?)?;
            Ok(exchange.serve(&stopped).await)
        })
    });
    let url = told.recv().context("the exchange does not start")?;
    Ok((url, check::Sent { stop, thread }))
}

fn ill_treat(recorder: &mut Recorder, lasting: Duration, seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    recorder.start()?;
    let mut offset: i64 = 0;
    while begun.elapsed() < lasting {
        std::thread::sleep(Duration::from_millis(random.u64(500..8_000)));
        match random.u8(0..10) {
            0..=3 => {
                say("kill -9");
                recorder.kill()?;
                std::thread::sleep(Duration::from_millis(random.u64(0..1_500)));
                recorder.start()?;
            }
            4 | 5 => {
                say("stop and start");
                recorder.stop()?;
                recorder.start()?;
            }
            6 | 7 => fill_the_disk(recorder, random.u64(1_000..6_000))?,
            _ => {
                // Mostly on, by less and more than an hour, and now and then back.
                offset += if random.u8(0..3) == 0 { -5_000 } else { random.i64(100..9_000) };
                if recorder.set_clock(offset)? {
                    say(&format!("the clock is off by {offset} s"));
                }
            }
        }
    }
    Ok(())
}

fn fill_the_disk(recorder: &Recorder, millis: u64) -> Result<()> {
    let Some(dir) = recorder.small_disk() else { return Ok(()) };
    say("the disk is full");
    let filler = dir.join("filler");
    let file = std::fs::File::create(&filler)?;
    while std::io::Write::write_all(&mut &file, &[7; 4_096]).is_ok() {}
    std::thread::sleep(Duration::from_millis(millis));
    std::fs::remove_file(filler)?;
    Ok(())
}

/// Runs the binary on the archive and gives what it prints; it must succeed.
fn ask(binary: &Path, config: &Path, args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(binary).args(args).arg("-config").arg(config).output()?;
    if !output.status.success() {
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("`streamer {}` failed:\n{out}{err}", args.join(" "));
    }
    Ok(output.stdout)
}

#[expect(clippy::print_stderr, reason = "this is where messages meet their reader")]
fn say(text: &str) {
    eprintln!("{text}");
}

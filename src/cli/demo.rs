//! `streamer demo`: records a simulated exchange, without a network or a configuration.

mod exchange_thread;
mod expected_trades;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::exchange_thread::ExchangeThread;
use self::expected_trades::ExpectedTrades;
use super::cli_error::CliError;
use super::format::{HumanDuration, format_cause, gap_duration};
use super::output::print;
use super::path_arg::path_parser;
use crate::archive::coverage::Coverage;
use crate::archive::directory::Directory;
use crate::archive::file_name::{FileKind, Stem};
use crate::archive::gaps::{Gap, GapKind};
use crate::archive::progress::Progress;
use crate::archive::verify::{HourVerdict, verify_hour};
use crate::base::time::{Clock, ManualClock, SystemClock};
use crate::config::{ArchiveConfig, Config};
use crate::exchange::{Exchange, ExchangeOptions, Market};
use crate::recorder::Recorder;
use crate::registry::Registry;

const TOPIC: &str = "publicTrade.BTCUSDT";
/// The exchange drops the connection after so many trades when it sends as fast as possible.
const UNLIMITED_RATE_DROP_AT: u64 = 1_000_000;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Length of the recording in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Trades per second; 0 for as fast as possible
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    rate: u64,
    /// Directory for the recordings
    #[arg(long, value_name = "DIR", default_value = "demo", value_parser = path_parser())]
    dir: PathBuf,
    /// Record nothing and only run the exchange at this address, to test a configuration with it
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["seconds", "dir"])]
    serve: Option<String>,
    /// With --serve: the number of trades after which the exchange closes the connection
    #[arg(long)]
    count: Option<u64>,
}

pub(super) fn demo(args: &DemoArgs, registry: &Registry) -> Result<ExitCode, CliError> {
    if args.count.is_some() && args.serve.is_none() {
        return Err(CliError::Usage("--count needs --serve".to_owned()));
    }
    match &args.serve {
        Some(address) => serve(address, args),
        None => record(args, registry),
    }
}

/// Runs the exchange alone until Ctrl-C, or until it has sent all trades.
fn serve(address: &str, args: &DemoArgs) -> Result<ExitCode, CliError> {
    let options = ExchangeOptions {
        rate: args.rate,
        count: args.count,
        close_at_end: args.count.is_some(),
        ..ExchangeOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sent = runtime.block_on(async {
        let exchange = Exchange::bind(address, options)
            .await
            .with_context(|| format!("cannot listen at `{address}`"))?;
        let url = exchange.url()?;
        print(&format!("The exchange listens at {url}, topic {TOPIC}. Ctrl-C ends it.\n"))?;
        let stop = CancellationToken::new();
        tokio::select! {
            sent = exchange.serve(&stop) => Ok::<_, CliError>(Some(sent)),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Ok(None)
            }
        }
    })?;
    if let Some(sent) = sent {
        print(&format!("{sent} trades sent.\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn record(args: &DemoArgs, registry: &Registry) -> Result<ExitCode, CliError> {
    let started = SystemClock.now();
    // Each demo has a directory of its own, so that earlier recordings stay.
    let dir = args.dir.join(started.to_string().replace(':', "-"));
    let expected = args.rate.saturating_mul(args.seconds);
    let drop_at = if args.rate > 0 { expected / 2 } else { UNLIMITED_RATE_DROP_AT };
    let exchange = ExchangeThread::start(ExchangeOptions {
        rate: args.rate,
        drop_at: vec![drop_at.max(1)],
        ..ExchangeOptions::default()
    })?;
    let config = demo_config(&dir, &exchange.url, registry)?;
    print(&format!(
        "A simulated exchange runs at {}; recording it for {} s.\nIt drops the connection once.\n\n",
        exchange.url, args.seconds
    ))?;
    let duration = Duration::from_secs(args.seconds);
    let recorder = Recorder::new(config, registry).with_signal_handling();
    let end = recorder.run(async move { tokio::time::sleep(duration).await })?.total;
    let sent = exchange.stop()?;
    let other_lines = compare(&dir, sent)?;

    let mut text = String::from("\n");
    let seconds = (SystemClock.now().seconds() - started.seconds()).max(1);
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        text,
        "Recorded  {} messages, {} bytes, over {} connections in {seconds} s\nCompared  every one of the {sent} trades that were sent is in the file, in order, byte for byte\n          the other {other_lines} lines are the exchange's answers to our subscriptions and pings",
        end.messages, end.bytes, end.connects,
    );
    for SealedHour { file, messages } in seal(&dir)? {
        let _infallible = writeln!(
            text,
            "Sealed    {messages} messages, decoded again and compared: {}",
            file.display()
        );
    }
    for gap in closed_gaps(&dir)? {
        let lasting = HumanDuration(gap_duration(&gap, gap.from));
        let cause = format_cause(&gap);
        let _infallible =
            writeln!(text, "Accounted {} {} for {lasting}: {cause}", gap.from, gap.kind);
    }
    let _infallible = writeln!(
        text,
        "\nNext: `streamer report --dir {}` shows the recording,\n      `streamer init` writes a configuration, `streamer run` records with it.",
        dir.display()
    );
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns a configuration that records the exchange at `url` into `dir`.
fn demo_config(dir: &Path, url: &str, registry: &Registry) -> Result<Config, CliError> {
    let dir = dir.to_str().with_context(|| format!("`{}` is not UTF-8", dir.display()))?;
    let config = json!({
        "output_dir": dir,
        "topic": TOPIC,
        "ws_url": url,
        "status_interval": 1,
        "status_socket": "",
        "log_file": "",
    });
    Ok(Config::parse(Path::new("demo"), &config.to_string(), registry)?)
}

/// A sealed file that was verified.
struct SealedHour {
    file: PathBuf,
    messages: u64,
}

/// Seals the recorded hours, as the sidecar does when an hour is over, and verifies them.
fn seal(dir: &Path) -> anyhow::Result<Vec<SealedHour>> {
    let two_hours = Duration::from_secs(2 * 3600);
    let clock = ManualClock::new(SystemClock.now().saturating_add(two_hours));
    let job = ArchiveConfig::default().job(dir.to_owned());
    job.run(&clock, &Progress::default(), &mut |_| {})?;
    let mut sealed = Vec::new();
    for entry in Directory::read(dir)?.hours {
        match verify_hour(dir, &entry, SystemClock.now(), &Progress::default())? {
            Some(HourVerdict::Intact { messages, .. }) => {
                sealed.push(SealedHour { file: entry.path(dir, FileKind::Sealed), messages });
            }
            // An hour without messages.
            None => {}
            verdict => bail!("`{}` is not as it was sealed: {verdict:?}", entry.display_name()),
        }
    }
    Ok(sealed)
}

/// Returns the gaps that have ended. The gap after the end of the demo is left out.
fn closed_gaps(dir: &Path) -> anyhow::Result<Vec<Gap>> {
    let coverage = Coverage::read(dir, &Directory::read(dir)?.hours, SystemClock.now(), 1);
    let gaps = coverage.gaps.into_values().flatten();
    // The demo began with its first hour, which is no loss.
    let is_loss = |gap: &Gap| gap.to.is_some() && gap.kind != GapKind::NotRecorded;
    Ok(gaps.filter(is_loss).collect())
}

/// Compares the recorded trades with the `sent` trades, and returns the number of other lines.
///
/// # Errors
/// A trade is missing, is there twice or differs.
fn compare(dir: &Path, sent: u64) -> anyhow::Result<u64> {
    let mut expected = ExpectedTrades::new(Market::new(TOPIC));
    let mut other_lines = 0;
    for file in line_files(dir)? {
        let reader = BufReader::new(File::open(&file)?);
        for (index, line) in reader.split(b'\n').enumerate() {
            let line = line?;
            if line.starts_with(b"{\"success\":") {
                other_lines += 1;
            } else if !expected.match_next(&line) {
                bail!("line {} of `{}` is not the trade that was sent", index + 1, file.display());
            }
        }
    }
    let recorded = expected.count();
    if recorded != sent {
        bail!("{sent} trades were sent, {recorded} are in the files in `{}`", dir.display());
    }
    Ok(other_lines)
}

/// Returns the files with lines of the topic, in the order of time.
fn line_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let topic_stem = Stem::from_topic(TOPIC)?;
    let mut files = Vec::new();
    // In the order of the hours.
    for entry in Directory::read(dir)?.hours {
        if entry.stem == topic_stem && entry.file(FileKind::Lines).is_some() {
            files.push(entry.path(dir, FileKind::Lines));
        }
    }
    Ok(files)
}

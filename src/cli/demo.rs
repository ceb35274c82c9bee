//! `streamer demo`: the main job, with no network and no configuration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::gaps::{HumanDuration, format_cause};
use super::{CliError, print, run};
use crate::archive::coverage::Coverage;
use crate::archive::directory::Directory;
use crate::archive::file_name::{FileKind, Stem, parse_file_name};
use crate::archive::gaps::Gap;
use crate::archive::progress::Progress;
use crate::archive::verify::{HourVerdict, verify_hour};
use crate::base::time::{Clock, ManualClock, SystemClock};
use crate::config::{ArchiveConfig, Config};
use crate::exchange::{Exchange, ExchangeOptions, Market};
use crate::registry::Registry;

const TOPIC: &str = "publicTrade.BTCUSDT";
/// Trades that are compared at a time.
const TRADES_PER_BLOCK: u64 = 10_000;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Seconds to record
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Trades a second; 0 for as fast as possible
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    rate: u64,
    /// Directory for the recording
    #[arg(long, value_name = "DIR", default_value = "demo")]
    dir: PathBuf,
    /// Record nothing: only run the exchange, at this address, to try a configuration against it
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["seconds", "dir"])]
    serve: Option<String>,
    /// With --serve: how many trades there are; then the exchange closes the connection
    #[arg(long)]
    count: Option<u64>,
}

pub(super) fn demo(args: &DemoArgs, registry: &Registry) -> Result<ExitCode, CliError> {
    if args.count.is_some() && args.serve.is_none() {
        return Err(CliError::Usage("--count goes with --serve".to_owned()));
    }
    match &args.serve {
        Some(address) => serve(address, args),
        None => record(args, registry),
    }
}

/// The exchange alone, until Ctrl-C.
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
        print(&format!("The exchange listens at {url}, topic {TOPIC}. Ctrl-C ends it.\n"))
            .map_err(|_| anyhow!("stdout cannot be written"))?;
        let stop = CancellationToken::new();
        tokio::select! {
            sent = exchange.serve(&stop) => anyhow::Ok(Some(sent)),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Ok(None)
            }
        }
    })?;
    print(&sent.map_or_else(String::new, |sent| format!("{sent} trades sent.\n")))
}

fn record(args: &DemoArgs, registry: &Registry) -> Result<ExitCode, CliError> {
    let begun = SystemClock.now();
    // A directory of its own each time: what an earlier demo recorded stays.
    let dir = args.dir.join(begun.to_string().replace(':', "-"));
    let expected = args.rate.saturating_mul(args.seconds);
    let drop_at = if args.rate > 0 { expected / 2 } else { 1_000_000 };
    let exchange = ExchangeThread::start(ExchangeOptions {
        rate: args.rate,
        drop_at: vec![drop_at.max(1)],
        ..ExchangeOptions::default()
    })?;
    let config = json!({
        "output_dir": dir,
        "topic": TOPIC,
        "ws_url": exchange.url,
        "status_interval": 1,
        "status_socket": "",
        "log_file": "",
    });
    let config = Config::parse(Path::new("demo"), &config.to_string(), registry)?;
    let url = &exchange.url;
    print(&format!(
        "An exchange of our own runs at {url}; recording it for {} s.\nIt will drop the connection once on the way.\n\n",
        args.seconds
    ))?;
    let stop = CancellationToken::new();
    let timer = stop.clone();
    let seconds = Duration::from_secs(args.seconds);
    // A thread rather than a task: the runtime is the recorder's own.
    std::thread::spawn(move || {
        std::thread::sleep(seconds);
        timer.cancel();
    });
    let stats = run::record(config, "demo", false, &stop)?;
    let sent = exchange.stop()?;
    let end = stats.snapshot().total;
    let compared = compare(&dir, sent)?;

    let mut text = String::from("\n");
    let seconds = (SystemClock.now().seconds() - begun.seconds()).max(1);
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        text,
        "Recorded  {} messages, {} bytes, over {} connections in {seconds} s\nCompared  every one of the {sent} trades that were sent is in the file, in order, byte for byte\n          the other {} lines are the exchange's answers to our subscriptions and pings",
        end.messages, end.bytes, end.connects, compared.control_lines,
    );
    for (file, messages) in seal(&dir)? {
        let _infallible = writeln!(
            text,
            "Sealed    {messages} messages, decoded again and compared: {}",
            file.display()
        );
    }
    for gap in closed_gaps(&dir)? {
        let _infallible = writeln!(
            text,
            "Accounted {} {} for {}: {}",
            gap.from,
            gap.kind,
            HumanDuration(gap.to.unwrap_or(gap.from).saturating_since(gap.from)),
            format_cause(&gap)
        );
    }
    let _infallible = writeln!(
        text,
        "\nNext: `streamer init` writes a configuration, `streamer run` records it."
    );
    print(&text)
}

/// Seals what was recorded, as the sidecar does when the hour is over, and proves it.
fn seal(dir: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let clock = ManualClock::new(SystemClock.now().saturating_add(Duration::from_secs(2 * 3600)));
    let job = ArchiveConfig::default().job(dir.to_owned());
    job.run(&clock, &Progress::default(), &mut |_| {})?;
    let mut sealed = Vec::new();
    for entry in Directory::read(dir)?.hours {
        match verify_hour(dir, &entry, &Progress::default())? {
            Some(HourVerdict::Intact { messages, .. }) => {
                sealed.push((entry.path(dir, FileKind::Sealed), messages));
            }
            // An hour in which nothing came.
            None => {}
            verdict => bail!("`{}` is not as it was sealed: {verdict:?}", entry.display_name()),
        }
    }
    Ok(sealed)
}

/// The gaps that have ended: that the demo does not go on is no wonder.
fn closed_gaps(dir: &Path) -> anyhow::Result<Vec<Gap>> {
    let account = Coverage::read(dir, &Directory::read(dir)?.hours, SystemClock.now(), 1);
    let gaps = account.gaps.into_values().flatten();
    Ok(gaps.filter(|gap| gap.to.is_some()).collect())
}

/// The exchange, on a thread and a runtime of its own.
struct ExchangeThread {
    url: String,
    stop: CancellationToken,
    thread: JoinHandle<std::io::Result<u64>>,
}

impl ExchangeThread {
    fn start(options: ExchangeOptions) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new().name("exchange".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let exchange = Exchange::bind("127.0.0.1:0", options).await?;
                // Nobody listens when the demo has failed meanwhile.
                drop(tell.send(exchange.url()?));
                Ok(exchange.serve(&stopped).await)
            })
        })?;
        match told.recv() {
            Ok(url) => Ok(Self { url, stop, thread }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error).context("cannot start an exchange on loopback"),
                _ => bail!("the exchange died"),
            },
        }
    }

    fn stop(self) -> anyhow::Result<u64> {
        self.stop.cancel();
        let sent = self.thread.join().map_err(|_| anyhow!("the exchange died"))?;
        sent.context("the exchange failed")
    }
}

struct Comparison {
    /// Lines that are no trades.
    control_lines: u64,
}

/// Compares what is in the files with what was sent.
fn compare(dir: &Path, sent: u64) -> anyhow::Result<Comparison> {
    let stem = Stem::from_topic(TOPIC)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_name().to_str().and_then(parse_file_name) {
            Some((of, hour, FileKind::Lines)) if of == stem => files.push((hour, entry.path())),
            _ => {}
        }
    }
    files.sort();
    let market = Market::new(TOPIC);
    let mut expected = ExpectedTrades { market, next_trade: 0, block: Vec::new(), offset: 0 };
    let mut answers = 0;
    for (_, file) in &files {
        use std::io::BufRead;
        let reader = std::io::BufReader::new(std::fs::File::open(file)?);
        for (index, line) in reader.split(b'\n').enumerate() {
            let line = line?;
            if line.starts_with(b"{\"success\":") {
                answers += 1;
            } else if !expected.match_next(&line) {
                bail!("line {} of `{}` is not the trade that was sent", index + 1, file.display());
            }
        }
    }
    if expected.next_trade != sent {
        bail!(
            "{sent} trades were sent, {} are in the files in `{}`",
            expected.next_trade,
            dir.display()
        );
    }
    Ok(Comparison { control_lines: answers })
}

/// The trades as lines, a block at a time.
struct ExpectedTrades {
    market: Market,
    next_trade: u64,
    block: Vec<u8>,
    offset: usize,
}

impl ExpectedTrades {
    fn match_next(&mut self, line: &[u8]) -> bool {
        if self.offset >= self.block.len() {
            self.block = self.market.lines(self.next_trade..self.next_trade + TRADES_PER_BLOCK);
            self.offset = 0;
        }
        let rest = self.block.get(self.offset..).unwrap_or_default();
        let same = rest.starts_with(line) && rest.get(line.len()) == Some(&b'\n');
        self.offset += line.len() + 1;
        self.next_trade += 1;
        same
    }
}

//! The experiments and their tables.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Map, json};
use streamer::exchange::Market;

use crate::Cli;
use crate::measure::{Cost, Served, measure};

const TOPIC: &str = "publicTrade.BTCUSDT";
const RATES: [u64; 3] = [1_000, 20_000, 100_000];

/// A client under measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Floor,
    FloorLazy,
    FloorTls,
    Recorder,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorLazy => "floor, lazy",
            Self::FloorTls => "bare TLS read loop",
            Self::Recorder => "streamer",
        }
    }
}

pub(crate) fn all(cli: &Cli) -> Result<()> {
    let bench = Bench::new(cli)?;
    bench.blast("full speed, ws://", &[Client::Floor, Client::Recorder], cli.count, None)?;
    let certificate = certificate()?;
    let tls = Some(certificate.path());
    bench.blast("full speed, wss://", &[Client::FloorTls, Client::Recorder], cli.count, tls)?;
    for rate in RATES {
        let clients = [Client::FloorLazy, Client::Floor, Client::Recorder];
        bench.rate(rate, &clients, cli.seconds)?;
    }
    bench.start_up()
}

/// Returns the program to measure: the named one, or the one just built.
pub(crate) fn recorder(named: Option<&Path>) -> Result<PathBuf> {
    let built = std::env::current_exe()?.with_file_name("streamer");
    let recorder = named.map_or(built, Path::to_owned);
    if !recorder.exists() {
        bail!("there is no recorder at `{}`", recorder.display());
    }
    Ok(recorder)
}

struct Bench {
    recorder: PathBuf,
    rounds: usize,
}

impl Bench {
    fn new(cli: &Cli) -> Result<Self> {
        let recorder = recorder(cli.recorder.as_deref())?;
        Ok(Self { recorder, rounds: cli.rounds.max(1) })
    }

    fn blast(&self, title: &str, clients: &[Client], count: u64, tls: Option<&Path>) -> Result<()> {
        print(&format!("\n### {title}, {count} trades, median of {} rounds\n", self.rounds));
        print(
            "| client | k msg/s | CPU s/M | x floor | peak RSS MiB |\n| --- | --- | --- | --- | --- |",
        );
        let costs = self.interleaved(clients, |client| self.once(client, 0, count, tls))?;
        let floor = median_of(&costs, 0, |cost| per_million(cost, count));
        for (index, client) in clients.iter().enumerate() {
            let rate =
                median_of(&costs, index, |cost| count as f64 / cost.wall.as_secs_f64() / 1e3);
            let cpu = median_of(&costs, index, |cost| per_million(cost, count));
            let peak = median_of(&costs, index, |cost| cost.peak_kib as f64 / 1024.0);
            let ratio = cpu / floor;
            print(&format!(
                "| {} | {rate:.0} | {cpu:.3} | {ratio:.2} | {peak:.1} |",
                client.name()
            ));
        }
        Ok(())
    }

    fn rate(&self, rate: u64, clients: &[Client], seconds: u64) -> Result<()> {
        let count = rate * seconds;
        print(&format!("\n### {rate} msg/s for {seconds} s, median of {} rounds\n", self.rounds));
        print(
            "| client | CPU % of a core, start-up included | x first | peak RSS MiB |\n| --- | --- | --- | --- |",
        );
        let costs = self.interleaved(clients, |client| self.once(client, rate, count, None))?;
        let percent = |cost: &Cost| 100.0 * cost.cpu.as_secs_f64() / seconds as f64;
        let first = median_of(&costs, 0, percent);
        for (index, client) in clients.iter().enumerate() {
            let cpu = median_of(&costs, index, percent);
            let peak = median_of(&costs, index, |cost| cost.peak_kib as f64 / 1024.0);
            print(&format!("| {} | {cpu:.2} | {:.2} | {peak:.1} |", client.name(), cpu / first));
        }
        Ok(())
    }

    /// Measures the time from the start of the process to the first trade in the file.
    fn start_up(&self) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            let dir = tempfile::tempdir()?;
            let served = Served::start(0, 1, None)?;
            let begun = Instant::now();
            let line = Market::new(TOPIC).lines(0..1).len() as u64;
            let cost = measure(self.command(&served, dir.path(), None)?, dir.path(), Some(line))?;
            times.push(cost.wall.min(begun.elapsed()));
        }
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        print(&format!(
            "\nStart of the process to the first trade in the file: {median:?} (looked at every 10 ms)"
        ));
        Ok(())
    }

    /// Measures all clients in turns, so that noise on the machine affects all of them.
    fn interleaved(
        &self,
        clients: &[Client],
        once: impl Fn(Client) -> Result<Cost>,
    ) -> Result<Vec<Vec<Cost>>> {
        let mut costs = vec![Vec::new(); clients.len()];
        for _ in 0..self.rounds {
            for (client, costs) in clients.iter().zip(&mut costs) {
                costs.push(once(*client)?);
            }
        }
        Ok(costs)
    }

    fn once(&self, client: Client, rate: u64, count: u64, tls: Option<&Path>) -> Result<Cost> {
        let dir = tempfile::tempdir()?;
        let served = Served::start(rate, count, tls)?;
        let own = std::env::current_exe()?;
        let mut command = Command::new(&own);
        let expected = lines_of(count);
        match client {
            Client::Floor | Client::FloorLazy => {
                command.arg("floor").arg(served.address()).arg(dir.path().join("x.jsonl"));
                if client == Client::FloorLazy {
                    command.arg("--lazy");
                }
                let cost = measure(command, dir.path(), None)?;
                complete(client, &cost, expected)
            }
            Client::FloorTls => {
                let ca = tls.context("no certificate")?.join("cert.pem");
                command.arg("floor-tls").arg(served.address()).arg(ca);
                measure(command, dir.path(), None)
            }
            Client::Recorder => {
                let command = self.command(&served, dir.path(), tls)?;
                let cost = measure(command, dir.path(), Some(expected))?;
                complete(client, &cost, expected)
            }
        }
    }

    fn command(&self, served: &Served, dir: &Path, tls: Option<&Path>) -> Result<Command> {
        let mut source = Map::new();
        source.insert("type".to_owned(), json!("websocket"));
        source.insert("url".to_owned(), json!(served.url));
        source.insert("topics".to_owned(), json!([TOPIC]));
        if let Some(dir) = tls {
            // The certificate is for the host name.
            let url = served.url.replace("127.0.0.1", "localhost");
            source.insert("url".to_owned(), json!(url));
            source.insert("tls".to_owned(), json!({ "ca_file": dir.join("cert.pem") }));
        }
        let config = json!({
            "source": source,
            "output_dir": dir,
            "status_socket": "",
            "log_file": dir.join("log"),
        });
        let file = dir.join("config.json");
        fs::write(&file, config.to_string())?;
        let mut command = Command::new(&self.recorder);
        command.arg("-config").arg(file);
        Ok(command)
    }
}

fn complete(client: Client, cost: &Cost, expected: u64) -> Result<Cost> {
    if cost.bytes < expected {
        bail!("{} wrote {} of {expected} bytes", client.name(), cost.bytes);
    }
    Ok(*cost)
}

/// Returns the bytes of `count` trades as lines.
fn lines_of(count: u64) -> u64 {
    // The trades repeat after 4096, except for their numbers.
    let market = Market::new(TOPIC);
    let period = market.lines(0..4096).len() as u64;
    count / 4096 * period + market.lines(0..count % 4096).len() as u64
}

fn median_of(costs: &[Vec<Cost>], client: usize, figure: impl Fn(&Cost) -> f64) -> f64 {
    median(costs.get(client).into_iter().flatten().map(figure).collect())
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn per_million(cost: &Cost, count: u64) -> f64 {
    cost.cpu.as_secs_f64() * 1e6 / count as f64
}

/// Creates a directory with a self-signed certificate for `localhost`.
fn certificate() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(dir.path().join("cert.pem"), signed.cert.pem())?;
    fs::write(dir.path().join("key.pem"), signed.signing_key.serialize_pem())?;
    Ok(dir)
}

#[expect(clippy::print_stdout, reason = "the tables are the result")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}

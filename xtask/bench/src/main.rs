//! Runs the demo exchange against the recorder and against the least that a client can do, one after
//! the other, and prints the cost of each.

mod account;
mod archive;
mod floor;
mod measure;
mod report;
mod serve;
mod shapes;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure the recorder against a floor.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// Rounds; medians are shown
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Trades in a round at full speed
    #[arg(long, default_value_t = 4_000_000)]
    count: u64,
    /// Seconds of a round at a fixed rate
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Recorder to measure; by default the one just built
    #[arg(long)]
    recorder: Option<PathBuf>,
}

/// Further measurements, and the processes that the benchmark starts from this program.
#[derive(Subcommand)]
enum Role {
    /// Compression levels, and the archive's commands against the stock tools
    Archive(archive::ArchiveArgs),
    /// A year of journals, and the commands that read them all
    Account(account::AccountArgs),
    /// The least a client can do: read, unframe, write
    #[command(hide = true)]
    Floor(floor::FloorArgs),
    /// A bare TLS read loop that throws the bytes away
    #[command(hide = true)]
    FloorTls(floor::FloorTlsArgs),
    /// The exchange
    #[command(hide = true)]
    Serve(serve::ServeArgs),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Floor(args)) => floor::plain(&args),
        Some(Role::FloorTls(args)) => floor::tls(&args),
        Some(Role::Serve(args)) => serve::serve(&args),
        Some(Role::Archive(args)) => archive::archive(&args, cli.rounds, cli.recorder.as_deref()),
        Some(Role::Account(args)) => account::account(&args, cli.rounds, cli.recorder.as_deref()),
        None => report::all(&cli),
    }
}

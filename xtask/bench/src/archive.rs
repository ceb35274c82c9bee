//! Compression levels on three shapes of feed, and the archive's commands against the stock
//! tools.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use tempfile::TempDir;

use crate::measure::{Cost, measure};
use crate::report::{median, print, recorder};
use crate::shapes::Shape;

/// The number of an hour in the past, counted from 1970.
const HOUR: u64 = 1_699_999_200;
/// The hours of a year.
const HOURS: u32 = 8_760;

#[derive(Args)]
pub(crate) struct ArchiveArgs {
    /// Megabytes of an hour
    #[arg(long, default_value_t = 500)]
    megabytes: usize,
    /// Levels to compare
    #[arg(long, value_delimiter = ',', default_value = "1,3,6,9,12,19")]
    levels: Vec<u8>,
    /// Megabytes of an hour in the comparison of levels
    #[arg(long, default_value_t = 100)]
    level_megabytes: usize,
}

pub(crate) fn archive(args: &ArchiveArgs, rounds: usize, program: Option<&Path>) -> Result<()> {
    let program = recorder(program)?;
    levels(args, &program)?;
    stock(args, rounds, &program)?;
    list(rounds, &program)
}

struct Hours {
    dir: TempDir,
    config: String,
}

impl Hours {
    fn new(level: u8) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("config.json");
        let keys = json!({
            "output_dir": dir.path(), "archive": { "compression": { "level": level } },
        });
        fs::write(&config, keys.to_string())?;
        Ok(Self { config: config.display().to_string(), dir })
    }

    fn path(&self, hour: u64, suffix: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("t_{}{suffix}", HOUR + hour * 3600))
    }

    fn run(&self, program: &Path, command: &str) -> Result<Cost> {
        let mut streamer = Command::new(program);
        streamer.args([command, "--config", &self.config]);
        measure(streamer, self.dir.path(), None)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn levels(args: &ArchiveArgs, program: &Path) -> Result<()> {
    print("| shape | level | ratio | CPU s a GB | peak RSS MiB |\n| --- | --- | --- | --- | --- |");
    for shape in Shape::ALL {
        let lines = shape.lines(args.level_megabytes * 1_000_000);
        for level in &args.levels {
            let hours = Hours::new(*level)?;
            fs::write(hours.path(0, ".jsonl"), &lines)?;
            // One round is enough: processor time hardly varies, and the high levels take long.
            let cost = hours.run(program, "archive")?;
            let stored = fs::metadata(hours.path(0, ".jsonl.zst"))?.len();
            let gigabytes = lines.len() as f64 / 1e9;
            print(&format!(
                "| {} | {level} | {:.2} | {:.1} | {:.1} |",
                shape.name(),
                lines.len() as f64 / stored as f64,
                cost.cpu.as_secs_f64() / gigabytes,
                cost.peak_kib as f64 / 1024.0
            ));
        }
    }
    Ok(())
}

/// Measures our commands and the stock tools in turns.
fn stock(args: &ArchiveArgs, rounds: usize, program: &Path) -> Result<()> {
    let lines = Shape::Trades.lines(args.megabytes * 1_000_000);
    let hours = Hours::new(1)?;
    let source = hours.dir.path().join("source");
    fs::write(&source, &lines)?;
    let source = source.display();
    let sealed = hours.path(0, ".jsonl.zst").display().to_string();
    let theirs = hours.dir.path().join("theirs.zst");
    let theirs = theirs.display();
    let shell = |script: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        measure(shell, hours.dir.path(), None)
    };
    let mut rows: Vec<(&str, Vec<Cost>, Vec<Cost>)> = vec![
        ("seal / zstd -1 -T1 && zstd -t", Vec::new(), Vec::new()),
        ("cat / zstdcat", Vec::new(), Vec::new()),
        ("verify / zstd -dc | sha256sum", Vec::new(), Vec::new()),
    ];
    for _ in 0..rounds {
        if Path::new(&sealed).exists() {
            fs::remove_file(&sealed)?;
        }
        // The file is on disk and in the page cache, for both.
        fs::copy(source.to_string(), hours.path(0, ".jsonl"))?;
        fs::File::open(hours.path(0, ".jsonl"))?.sync_all()?;
        let pairs = [
            (
                hours.run(program, "archive")?,
                shell(format!("zstd -q -f -1 -T1 {source} -o {theirs} && zstd -q -t {theirs}"))?,
            ),
            (hours.run(program, "cat")?, shell(format!("zstdcat {sealed}"))?),
            (hours.run(program, "verify")?, shell(format!("zstd -dc {sealed} | sha256sum"))?),
        ];
        for ((_, ours, stock), pair) in rows.iter_mut().zip(pairs) {
            ours.push(pair.0);
            stock.push(pair.1);
        }
    }
    print(
        "\n| ours / stock | wall s | wall ratio | CPU s | CPU ratio | our peak RSS MiB |\n| --- | --- | --- | --- | --- | --- |",
    );
    for (name, ours, stock) in rows {
        let of = |costs: &[Cost], part: fn(&Cost) -> Duration| {
            median(costs.iter().map(|cost| part(cost).as_secs_f64()).collect())
        };
        let wall = |cost: &Cost| cost.wall;
        let cpu = |cost: &Cost| cost.cpu;
        let our_wall = of(&ours, wall);
        let wall = of(&stock, wall);
        let our_cpu = of(&ours, cpu);
        let cpu = of(&stock, cpu);
        let peak = ours.iter().map(|cost| cost.peak_kib).max().unwrap_or(0) / 1024;
        print(&format!(
            "| {name} | {our_wall:.2} / {wall:.2} | {:.2} | {our_cpu:.2} / {cpu:.2} | {:.2} | {peak} |",
            our_wall / wall,
            our_cpu / cpu
        ));
    }
    Ok(())
}

fn list(rounds: usize, program: &Path) -> Result<()> {
    let hours = Hours::new(1)?;
    let lines = Shape::Trades.lines(2_000);
    for hour in 0..HOURS {
        fs::write(hours.path(hour.into(), ".jsonl"), &lines)?;
    }
    hours.run(program, "archive")?;
    if fs::read_dir(hours.dir.path())?.count() < 2 * usize::try_from(HOURS)? {
        bail!("not every hour was sealed");
    }
    let walls = (0..rounds).map(|_| Ok(hours.run(program, "ls")?.wall.as_secs_f64()));
    let wall = median(walls.collect::<Result<_>>()?);
    print(&format!("\n`streamer ls` over {HOURS} sealed hours: {wall:.2} s"));
    Ok(())
}

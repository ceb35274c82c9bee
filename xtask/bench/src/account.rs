//! The commands that read every journal of a year.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::measure::measure;
use crate::report::{median, print, recorder};

/// The number of an hour in the past, counted from 1970.
const HOUR: u64 = 1_699_999_200;
const NANOS: u64 = 1_000_000_000;
/// The bytes of a trade.
const TRADE: u64 = 278;
/// The number of hours between two losses of the connection.
const OUTAGE_EVERY: u64 = 20;

#[derive(Args)]
pub(crate) struct AccountArgs {
    /// Number of hours
    #[arg(long, default_value_t = 8_760)]
    hours: u64,
    /// Marks in each: 1,800 is the most with the default `mark_interval`
    #[arg(long, default_value_t = 1_800)]
    marks: u64,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn account(args: &AccountArgs, rounds: usize, program: Option<&Path>) -> Result<()> {
    let program = recorder(program)?;
    let dir = tempfile::tempdir()?;
    let mut bytes = 0;
    for hour in 0..args.hours {
        let journal = journal(hour, args.marks);
        bytes += journal.len();
        fs::write(dir.path().join(format!("t_{}.journal", HOUR + hour * 3600)), journal)?;
    }
    print(&format!(
        "{} journals of {} marks, {:.0} MB, {:.0} KiB each\n\n| command | wall s | CPU s | peak RSS MiB |\n| --- | --- | --- | --- |",
        args.hours,
        args.marks,
        bytes as f64 / 1e6,
        bytes as f64 / args.hours.max(1) as f64 / 1024.0
    ));
    let page = dir.path().join("page.html").display().to_string();
    for command in [&["ls"][..], &["gaps"], &["report"], &["report", "--html", &page]] {
        let mut costs = Vec::new();
        for _ in 0..rounds {
            let mut streamer = Command::new(&program);
            streamer.args(command).arg("--dir").arg(dir.path());
            costs.push(measure(streamer, dir.path(), None)?);
        }
        let wall = median(costs.iter().map(|cost| cost.wall.as_secs_f64()).collect());
        let cpu = median(costs.iter().map(|cost| cost.cpu.as_secs_f64()).collect());
        let peak = costs.iter().map(|cost| cost.peak_kib).max().unwrap_or(0) as f64 / 1024.0;
        let name = command.first().copied().unwrap_or_default();
        let html = if command.len() > 1 { " --html" } else { "" };
        print(&format!("| {name}{html} | {wall:.2} | {cpu:.2} | {peak:.0} |"));
    }
    Ok(())
}

/// Returns the journal of an hour at full speed, as a recorder writes it.
fn journal(hour: u64, marks: u64) -> String {
    let begin = (HOUR + hour * 3600) * NANOS;
    let mut text = format!(
        r#"{{"t":{begin},"event":"open","v":1,"run":"00000000deadbeef","part":{hour},"version":"0.1.0","host":"h","pid":1,"config":"","source":"ws://h/","topics":["t"],"connected":true,"bytes":0,"messages":0}}"#
    );
    text.push('\n');
    for mark in 1..=marks {
        let t = begin + 3600 * NANOS / (marks + 1) * mark;
        let messages = mark * 20_000;
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            r#"{{"t":{t},"event":"mark","bytes":{},"messages":{messages}}}"#,
            messages * TRADE
        );
        if mark == marks / 2 && hour.is_multiple_of(OUTAGE_EVERY) {
            let up = t + NANOS;
            let _infallible = writeln!(
                text,
                "{{\"t\":{t},\"event\":\"down\",\"cause\":\"eof\",\"detail\":\"gone\"}}\n{{\"t\":{up},\"event\":\"up\",\"connection\":2}}"
            );
        }
    }
    let end = begin + 3600 * NANOS;
    let messages = marks * 20_000;
    let _infallible = writeln!(
        text,
        r#"{{"t":{end},"event":"closed","bytes":{},"messages":{messages},"stop":false,"durable":true}}"#,
        messages * TRADE
    );
    text
}

//! The checks of the archive after the run.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use streamer::exchange::Market;
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorder;
use crate::{report, run_command};

const TOPIC: &str = "publicTrade.BTCUSDT";

/// The running exchange; its thread returns the number of trades that it sent.
pub(crate) struct RunningExchange {
    pub(crate) stop: CancellationToken,
    pub(crate) thread: JoinHandle<Result<u64>>,
}

pub(crate) fn check(recorder: &Recorder, exchange: RunningExchange) -> Result<()> {
    exchange.stop.cancel();
    let Ok(sent) = exchange.thread.join() else { bail!("the exchange panicked") };
    let sent = sent?;
    let run = |args: &[&str]| run_command(&recorder.binary, &recorder.config, args);
    run(&["archive"])?;
    let verified = run(&["verify"])?;
    report(String::from_utf8_lossy(&verified).trim_end());
    let lines = run(&["cat"])?;
    let market = Market::new(TOPIC);
    let mut seen = BTreeMap::new();
    let mut answers = 0_u64;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let Some(number) = parse_number(line) else {
            if !line.starts_with(b"{\"success\":") {
                bail!("a line that was never sent: {}", String::from_utf8_lossy(line));
            }
            answers += 1;
            continue;
        };
        if market.lines(number..number + 1) != line {
            bail!("a line that differs from what was sent: {}", String::from_utf8_lossy(line));
        }
        *seen.entry(number).or_insert(0_u32) += 1;
    }
    if let Some((number, times)) = seen.iter().find(|(_, times)| **times > 1) {
        bail!("trade {number} was recorded {times} times");
    }
    let last = seen.keys().next_back().map_or(0, |last| last + 1);
    if last > sent {
        bail!("trade {last} was recorded, and {sent} were sent");
    }
    let missing = last - seen.len() as u64;
    let gaps = String::from_utf8(run(&["gaps", "--json"])?)?;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for gap in gaps.lines() {
        let gap: Value = serde_json::from_str(gap)?;
        let kind = gap.get("kind").and_then(Value::as_str).context("a gap without a kind")?;
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    report(&format!(
        "{} trades of {last}, each once; {answers} answers; {missing} missed in these gaps: {kinds:?}",
        seen.len()
    ));
    if missing > 0 && kinds.is_empty() {
        bail!("{missing} trades are missing, and there is no gap");
    }
    Ok(())
}

/// Returns the number of a trade, or `None` for other lines.
fn parse_number(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, digits) = text.trim_end().strip_suffix("}]}")?.rsplit_once("\"seq\":1")?;
    digits.parse().ok()
}

//! What must hold of the archive in the end.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use streamer::exchange::Market;
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorder;
use crate::{ask, say};

const TOPIC: &str = "publicTrade.BTCUSDT";

/// The exchange that sends.
pub(crate) struct Sent {
    pub(crate) stop: CancellationToken,
    pub(crate) thread: JoinHandle<Result<u64>>,
}

pub(crate) fn check(recorder: &Recorder, sent: Sent) -> Result<()> {
    sent.stop.cancel();
    let Ok(sent) = sent.thread.join() else { bail!("the exchange panicked") };
    let sent = sent?;
    let ask = |args: &[&str]| ask(&recorder.binary, &recorder.config, args);
    ask(&["archive"])?;
    let verified = ask(&["verify"])?;
    say(String::from_utf8_lossy(&verified).trim_end());
    let lines = ask(&["cat"])?;
    let market = Market::new(TOPIC);
    let mut seen = BTreeMap::new();
    let mut answers = 0_u64;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let Some(number) = number(line) else {
            if !line.starts_with(b"{\"success\":") {
                bail!("a line that nobody sent: {}", String::from_utf8_lossy(line));
            }
            answers += 1;
            continue;
        };
        if market.lines(number..number + 1) != line {
            bail!("a line that nobody sent so: {}", String::from_utf8_lossy(line));
        }
        *seen.entry(number).or_insert(0_u32) += 1;
    }
    if let Some((number, times)) = seen.iter().find(|(_, times)| **times > 1) {
        bail!("trade {number} is there {times} times");
    }
    let last = seen.keys().next_back().map_or(0, |last| last + 1);
    if last > sent {
        bail!("trade {last} is there, and {sent} were sent");
    }
    let missing = last - seen.len() as u64;
    let gaps = String::from_utf8(ask(&["gaps", "--json"])?)?;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for gap in gaps.lines() {
        let gap: Value = serde_json::from_str(gap)?;
        let kind = gap.get("kind").and_then(Value::as_str).context("a gap without a kind")?;
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    say(&format!(
        "{} trades of {last}, each once; {answers} answers; {missing} missed in these gaps: {kinds:?}",
        seen.len()
    ));
    if missing > 0 && kinds.is_empty() {
        bail!("{missing} trades are missing, and no gap tells of it");
    }
    Ok(())
}

/// The number of a trade.
fn number(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, digits) = text.trim_end().strip_suffix("}]}")?.rsplit_once("\"seq\":1")?;
    digits.parse().ok()
}

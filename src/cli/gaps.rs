//! `streamer gaps`: the stretches of time in which something may be missing, and why.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::archive_args::{ArchiveLocationArgs, StemGap};
use super::time_arg::{TimeArg, resolve_range};
use super::{CliError, ignore_broken_pipe, print_stderr};
use crate::archive::gaps::{Gap, GapKind};
use crate::base::time::{Clock, SystemClock, UnixNanos};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct GapsArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// Only gaps that end after this time: RFC 3339, a date, or a span such as `2h ago`
    #[arg(long, value_name = "TIME")]
    from: Option<TimeArg>,
    /// Only gaps that begin before this time
    #[arg(long, value_name = "TIME")]
    to: Option<TimeArg>,
    /// One JSON object a line for each gap
    #[arg(long)]
    json: bool,
}

pub(super) fn gaps(
    args: &GapsArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let place = args.location.resolve(config, registry)?;
    let now = SystemClock.now();
    let (from, to) = resolve_range(args.from, args.to, now)?;
    let (_, mut gaps) = place.read_coverage(now)?;
    gaps.retain(|StemGap { gap, .. }| {
        let after = from.is_none_or(|from| gap.to.is_none_or(|end| end > from));
        after && to.is_none_or(|to| gap.from < to)
    });
    let label = |found: &StemGap<'_>| place.label(found.dir, &found.stem);
    let stem_width = gaps.iter().map(|found| label(found).len()).max().unwrap_or(0).max(4);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = (|| {
        if !args.json && !gaps.is_empty() {
            writeln!(out, "{}", header(stem_width))?;
        }
        for found in &gaps {
            let StemGap { dir, stem, gap } = found;
            if args.json {
                serde_json::to_writer(&mut out, &GapLine { stem: stem.as_str(), dir, gap })?;
                writeln!(out)?;
            } else {
                writeln!(out, "{:stem_width$}  {}", label(found), format_gap(gap, now))?;
            }
        }
        out.flush()
    })();
    let code = ignore_broken_pipe(written)?;
    if !args.json {
        print_stderr(&format_summary(&gaps, now));
    }
    Ok(code)
}

#[derive(Serialize)]
struct GapLine<'a> {
    stem: &'a str,
    dir: &'a Path,
    #[serde(flatten)]
    gap: &'a Gap,
}

fn header(stem_width: usize) -> String {
    format!(
        "{:stem_width$}  {:24}  {:24}  {:>10}  {:11}  {:9}  {:>8}  CAUSE",
        "STEM", "FROM (UTC)", "TO", "LASTING", "KIND", "CERTAINTY", "MESSAGES"
    )
}

/// A gap as a line, without its stem.
pub(super) fn format_gap(gap: &Gap, now: UnixNanos) -> String {
    let to = gap.to.map_or("(goes on)".to_owned(), |to| to.to_string());
    let lasting = HumanDuration(gap.to.unwrap_or(now).saturating_since(gap.from)).to_string();
    let messages = gap.messages.map_or("-".to_owned(), |messages| messages.to_string());
    format!(
        "{:24}  {to:24}  {lasting:>10}  {:11}  {:9}  {messages:>8}  {}",
        gap.from.to_string(),
        gap.kind.to_string(),
        gap.certainty.to_string(),
        format_cause(gap),
    )
}

/// Its cause with the particulars.
pub(super) fn format_cause(gap: &Gap) -> String {
    if gap.detail.is_empty() { gap.cause.clone() } else { format!("{}: {}", gap.cause, gap.detail) }
}

/// How many gaps of which kind there are.
fn format_summary(gaps: &[StemGap<'_>], now: UnixNanos) -> String {
    if gaps.is_empty() {
        return "no gaps".to_owned();
    }
    let kinds =
        [GapKind::Down, GapKind::NotRunning, GapKind::Dropped, GapKind::Stalled, GapKind::Unknown];
    let parts = kinds.into_iter().filter_map(|kind| {
        let of_kind = gaps.iter().map(|found| &found.gap).filter(|gap| gap.kind == kind);
        let lasting: Duration =
            of_kind.clone().map(|gap| gap.to.unwrap_or(now).saturating_since(gap.from)).sum();
        let count = of_kind.count();
        (count > 0).then(|| format!("{count} {kind} ({})", HumanDuration(lasting)))
    });
    let (count, s) = (gaps.len(), if gaps.len() == 1 { "" } else { "s" });
    format!("{count} gap{s}: {}", parts.collect::<Vec<_>>().join(", "))
}

/// A length of time in the two largest of its units.
pub(super) struct HumanDuration(pub(super) Duration);

impl std::fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{:.3}s", self.0.as_secs_f64()),
            (0, 0, _) => write!(f, "{minutes}m{}s", seconds % 60),
            (0, _, _) => write!(f, "{hours}h{minutes}m"),
            _ => write!(f, "{days}d{hours}h"),
        }
    }
}

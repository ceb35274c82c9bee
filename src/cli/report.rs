//! `streamer report`: the archive as a picture, hour by hour.

mod html;
mod terminal;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{DecimalBytes, HumanCount};

use super::archive_args::{ArchiveLocationArgs, StemGap};
use super::time_arg::{TimeArg, resolve_range};
use super::{CliError, ignore_broken_pipe, print_stderr};
use crate::archive::gaps::{Gap, GapKind, HourGaps, gaps_by_hour};
use crate::archive::hour_summary::{HourState, HourSummary, summarize_hour};
use crate::base::time::{Clock, Hour, SystemClock, UnixNanos};
use crate::registry::Registry;

const DAY_SECONDS: u64 = 24 * 3600;
/// A longer stretch of days without an hour on disk is left out.
const MAX_BLANK_SECONDS: u64 = 31 * DAY_SECONDS;
/// So many gaps are listed below a picture: the longest.
const MAX_LISTED_GAPS: usize = 50;

#[derive(Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    location: ArchiveLocationArgs,
    /// From the day in which this time lies: RFC 3339, a date, or a span such as `30d ago`
    #[arg(long, value_name = "TIME")]
    from: Option<TimeArg>,
    /// Up to the last day that begins before this time
    #[arg(long, value_name = "TIME")]
    to: Option<TimeArg>,
    /// Write it as one web page, which needs no other file and no script
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn report(
    args: &ReportArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let place = args.location.resolve(config, registry)?;
    let now = SystemClock.now();
    let (from, to) = resolve_range(args.from, args.to, now)?;
    let (hours, gaps) = place.read_coverage(now)?;
    let mut pictures: BTreeMap<String, StemReport> = BTreeMap::new();
    for listed in &hours {
        let row = summarize_hour(listed.dir, &listed.entry, &listed.journal, listed.gaps, now);
        let picture = pictures.entry(place.label(listed.dir, &listed.entry.stem)).or_default();
        picture.rows.extend(row.map(|row| (row.hour, row)));
    }
    for StemGap { dir, stem, gap } in gaps {
        pictures.entry(place.label(dir, &stem)).or_default().gaps.push(gap);
    }
    for picture in pictures.values_mut() {
        picture.select_range(from, to, now);
    }
    pictures.retain(|_, picture| !picture.rows.is_empty() || !picture.gaps.is_empty());
    if let Some(file) = &args.html {
        let page = html::render_page(&pictures, now);
        std::fs::write(file, page)
            .with_context(|| format!("cannot write the report to `{}`", file.display()))?;
        print_stderr(&format!("wrote {}", file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    ignore_broken_pipe(out.write_all(terminal::render_text(&pictures, now, colour).as_bytes()))
}

/// One stem, by hours.
#[derive(Default)]
struct StemReport {
    rows: BTreeMap<Hour, HourSummary>,
    gaps: Vec<Gap>,
    /// The gaps by hour, also of hours that have no files.
    gaps_by_hour: BTreeMap<Hour, HourGaps>,
    /// The first seconds of the days that are shown.
    days: Vec<u64>,
}

/// An hour of a picture.
#[derive(Clone, Copy)]
struct HourCell<'a> {
    /// The part of it in which the recorder listened; `None` when nothing is known of it.
    covered_fraction: Option<f64>,
    /// Whether the journal does not tell of a part of it.
    unknown: bool,
    row: Option<&'a HourSummary>,
}

/// How whole an hour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    /// There was no recorder yet, or there is none any more.
    NoData,
    Complete,
    /// 99 % and more.
    AtLeast99,
    /// 90 % and more.
    AtLeast90,
    /// 50 % and more.
    AtLeast50,
    Below50,
    /// The recorder did not listen at all.
    Zero,
    Unknown,
}

impl Grade {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Complete, "complete"),
        (Self::AtLeast99, "99 % and more"),
        (Self::AtLeast90, "90 % and more"),
        (Self::AtLeast50, "50 % and more"),
        (Self::Below50, "less"),
        (Self::Zero, "nothing"),
        (Self::Unknown, "unknown"),
    ];
}

impl HourCell<'_> {
    fn grade(self) -> Grade {
        match self.covered_fraction {
            None => Grade::NoData,
            Some(_) if self.unknown => Grade::Unknown,
            Some(share) if share >= 1.0 => Grade::Complete,
            Some(share) if share >= 0.99 => Grade::AtLeast99,
            Some(share) if share >= 0.9 => Grade::AtLeast90,
            Some(share) if share >= 0.5 => Grade::AtLeast50,
            Some(share) if share > 0.0 => Grade::Below50,
            Some(_) => Grade::Zero,
        }
    }

    fn messages(self) -> u64 {
        self.row.and_then(|row| row.messages).unwrap_or(0)
    }
}

impl StemReport {
    /// Keeps the days that are asked for, or those of which there is something to show.
    fn select_range(&mut self, from: Option<UnixNanos>, to: Option<UnixNanos>, now: UnixNanos) {
        let day = |time: UnixNanos| time.seconds() / DAY_SECONDS * DAY_SECONDS;
        let first_row = self.rows.keys().next().map(|hour| hour.start());
        let first_gap = self.gaps.first().map(|gap| gap.from);
        let first = first_row.into_iter().chain(first_gap).min().unwrap_or(now);
        // An archive that nobody writes to any more ends with its last hour.
        let last_row = self.rows.keys().next_back().map(|hour| hour.start());
        let last_gap = self.gaps.iter().filter_map(|gap| gap.to).max();
        let last = last_row.into_iter().chain(last_gap).max().unwrap_or(now);
        let begin = day(from.unwrap_or(first));
        let end =
            to.map_or(day(last) + DAY_SECONDS, |to| to.seconds().next_multiple_of(DAY_SECONDS));
        let (first, behind) = (UnixNanos::from_seconds(begin), UnixNanos::from_seconds(end));
        self.rows.retain(|hour, _| hour.start() >= first && hour.start() < behind);
        self.days = days_to_show(begin, end, self.rows.keys().map(|hour| day(hour.start())));
        let hours = self.days.iter().flat_map(|day| hours_of(*day));
        self.gaps_by_hour = gaps_by_hour(&self.gaps, hours, now.min(behind));
        self.gaps.retain(|gap| gap.from < behind && gap.to.is_none_or(|to| to > first));
    }

    fn cell(&self, hour: Hour, now: UnixNanos) -> HourCell<'_> {
        let (row, gaps) = (self.rows.get(&hour), self.gaps_by_hour.get(&hour));
        let length = hour.end().min(now).saturating_since(hour.start());
        let known = (row.is_some() || gaps.is_some()) && !length.is_zero();
        let lasting = gaps.map_or(Duration::ZERO, |gaps| gaps.duration);
        let gone = row.is_some_and(|row| row.state == HourState::Missing);
        let there = 1.0 - (lasting.as_secs_f64() / length.as_secs_f64()).min(1.0);
        let share = known.then_some(if gone { 0.0 } else { there });
        HourCell {
            covered_fraction: share,
            unknown: gaps.is_some_and(|gaps| gaps.has_unknown),
            row,
        }
    }

    /// Each day's first second, with its hours.
    fn cells_by_day(&self, now: UnixNanos) -> impl Iterator<Item = (u64, Vec<HourCell<'_>>)> {
        self.days
            .iter()
            .map(move |day| (*day, hours_of(*day).map(|hour| self.cell(hour, now)).collect()))
    }

    fn max_messages(&self) -> u64 {
        self.rows.values().filter_map(|row| row.messages).max().unwrap_or(0)
    }

    fn totals(&self, now: UnixNanos) -> ReportTotals {
        let mut totals = ReportTotals::default();
        for cell in self.cells_by_day(now).flat_map(|(_, cells)| cells) {
            let Some(share) = cell.covered_fraction else { continue };
            totals.hours += 1;
            match cell.grade() {
                Grade::Unknown => totals.unknown += 1,
                grade => {
                    totals.complete += u64::from(grade == Grade::Complete);
                    totals.covered_sum += share;
                }
            }
        }
        for row in self.rows.values().filter(|row| row.state != HourState::Missing) {
            totals.messages += row.messages.unwrap_or(0);
            totals.raw_bytes += row.raw_bytes.unwrap_or(0);
            totals.stored_bytes += row.stored_bytes;
        }
        totals
    }

    /// The longest gaps, in the order of time, and how many more there are.
    fn longest_gaps(&self, now: UnixNanos) -> (Vec<&Gap>, usize) {
        let mut gaps: Vec<_> = self.gaps.iter().collect();
        let lasting = |gap: &Gap| gap.to.unwrap_or(now).saturating_since(gap.from);
        // Those in which messages were dropped come first: they tell how many.
        gaps.sort_by_key(|gap| std::cmp::Reverse((gap.kind == GapKind::Dropped, lasting(gap))));
        let more = gaps.len().saturating_sub(MAX_LISTED_GAPS);
        gaps.truncate(MAX_LISTED_GAPS);
        gaps.sort_by_key(|gap| gap.from);
        (gaps, more)
    }
}

fn hours_of(day: u64) -> impl Iterator<Item = Hour> {
    (day..day + DAY_SECONDS).step_by(3600).filter_map(Hour::starting_at)
}

/// The days from `begin` until before `end`, without long stretches of which there is nothing. The
/// days of which there is something come in order.
fn days_to_show(begin: u64, end: u64, filled: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut days = Vec::new();
    let mut next = begin;
    for day in filled.chain([end]) {
        if day.saturating_sub(next) <= MAX_BLANK_SECONDS {
            days.extend((next..day).step_by(86_400));
        }
        if day < end && days.last() != Some(&day) {
            days.push(day);
        }
        next = next.max(day + DAY_SECONDS);
    }
    days
}

#[derive(Default)]
struct ReportTotals {
    /// Hours of which something is known.
    hours: u64,
    complete: u64,
    /// Hours of which a journal does not tell all.
    unknown: u64,
    /// The sum of the shares of all others.
    covered_sum: f64,
    messages: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

/// One line for people.
impl std::fmt::Display for ReportTotals {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            hours,
            complete,
            unknown,
            covered_sum: shares,
            messages,
            raw_bytes,
            stored_bytes,
        } = self;
        write!(f, "{hours} hours, {complete} of them complete, ")?;
        if *unknown > 0 {
            write!(f, "{unknown} unknown, ")?;
        }
        let told = hours - unknown;
        if told > 0 {
            // What is not all of it must not be rounded to 100.
            let most = if *complete < told { 99.999 } else { 100.0 };
            let percent = (shares * 100.0 / told as f64).min(most);
            let others = if *unknown > 0 { "of the others" } else { "of the time" };
            write!(f, "listening {percent:.3} % {others}, ")?;
        }
        write!(
            f,
            "{} messages, {}, {} on disk",
            HumanCount(*messages),
            DecimalBytes(*raw_bytes),
            DecimalBytes(*stored_bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_hours_are_omitted_when_they_exceed_the_limit() {
        let shown = |begin, end, filled: &[u64]| {
            let days = days_to_show(
                begin * DAY_SECONDS,
                end * DAY_SECONDS,
                filled.iter().map(|day| day * DAY_SECONDS),
            );
            days.into_iter().map(|day| day / DAY_SECONDS).collect::<Vec<_>>()
        };
        assert_eq!(shown(10, 13, &[10, 10, 12]), [10, 11, 12]);
        assert_eq!(shown(10, 13, &[]), [10, 11, 12]);
        assert_eq!(shown(0, 20_001, &[0, 1, 20_000]), [0, 1, 20_000]);
        assert_eq!(shown(0, 20_001, &[]), Vec::<u64>::new());
    }
}

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

use super::place::{PlaceArgs, StemGap};
use super::when::{When, range};
use super::{Failure, broken_pipe_is_success, words};
use crate::archive::gaps::{Gap, InHour, Kind, by_hour};
use crate::archive::list::{Row, Standing, row};
use crate::clock::{Clock, Hour, SystemClock, UnixNanos};
use crate::registry::Registry;

const DAY: u64 = 24 * 3600;
/// A longer stretch of days without an hour on disk is left out.
const LONGEST_BLANK: u64 = 31 * DAY;
/// So many gaps are listed below a picture: the longest.
const LISTED_GAPS: usize = 50;

#[derive(Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// From the day in which this time lies: RFC 3339, a date, or a span such as `30d ago`
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Up to the last day that begins before this time
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Write it as one web page, which needs no other file and no script
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn report(
    args: &ReportArgs,
    config: &Path,
    registry: &Registry,
) -> Result<ExitCode, Failure> {
    let place = args.place.find(config, registry)?;
    let now = SystemClock.now();
    let (from, to) = range(args.from, args.to, now)?;
    let (hours, gaps) = place.accounts(now)?;
    let mut pictures: BTreeMap<String, Picture> = BTreeMap::new();
    for listed in &hours {
        let row = row(listed.dir, &listed.entry, &listed.journal, listed.gaps, now);
        let picture = pictures.entry(place.label(listed.dir, &listed.entry.stem)).or_default();
        picture.rows.extend(row.map(|row| (row.hour, row)));
    }
    for StemGap { dir, stem, gap } in gaps {
        pictures.entry(place.label(dir, &stem)).or_default().gaps.push(gap);
    }
    for picture in pictures.values_mut() {
        picture.clip(from, to, now);
    }
    pictures.retain(|_, picture| !picture.rows.is_empty() || !picture.gaps.is_empty());
    if let Some(file) = &args.html {
        let page = html::page(&pictures, now);
        std::fs::write(file, page)
            .with_context(|| format!("cannot write the report to `{}`", file.display()))?;
        words(&format!("wrote {}", file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    broken_pipe_is_success(out.write_all(terminal::text(&pictures, now, colour).as_bytes()))
}

/// One stem, by hours.
#[derive(Default)]
struct Picture {
    rows: BTreeMap<Hour, Row>,
    gaps: Vec<Gap>,
    /// The gaps by hour, also of hours that have no files.
    in_hours: BTreeMap<Hour, InHour>,
    /// The first seconds of the days that are shown.
    days: Vec<u64>,
}

/// An hour of a picture.
#[derive(Clone, Copy)]
struct Cell<'a> {
    /// The part of it in which the recorder listened; `None` when nothing is known of it.
    share: Option<f64>,
    /// Whether the journal does not tell of a part of it.
    unknown: bool,
    row: Option<&'a Row>,
}

/// How whole an hour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    /// There was no recorder yet, or there is none any more.
    Blank,
    Complete,
    /// 99 % and more.
    Nearly,
    /// 90 % and more.
    Most,
    /// 50 % and more.
    Half,
    Less,
    /// The recorder did not listen at all.
    Nothing,
    Unknown,
}

impl Grade {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Complete, "complete"),
        (Self::Nearly, "99 % and more"),
        (Self::Most, "90 % and more"),
        (Self::Half, "50 % and more"),
        (Self::Less, "less"),
        (Self::Nothing, "nothing"),
        (Self::Unknown, "unknown"),
    ];
}

impl Cell<'_> {
    fn grade(self) -> Grade {
        match self.share {
            None => Grade::Blank,
            Some(_) if self.unknown => Grade::Unknown,
            Some(share) if share >= 1.0 => Grade::Complete,
            Some(share) if share >= 0.99 => Grade::Nearly,
            Some(share) if share >= 0.9 => Grade::Most,
            Some(share) if share >= 0.5 => Grade::Half,
            Some(share) if share > 0.0 => Grade::Less,
            Some(_) => Grade::Nothing,
        }
    }

    fn messages(self) -> u64 {
        self.row.and_then(|row| row.messages).unwrap_or(0)
    }
}

impl Picture {
    /// Keeps the days that are asked for, or those of which there is something to show.
    fn clip(&mut self, from: Option<UnixNanos>, to: Option<UnixNanos>, now: UnixNanos) {
        let day = |time: UnixNanos| time.seconds() / DAY * DAY;
        let first_row = self.rows.keys().next().map(|hour| hour.start());
        let first_gap = self.gaps.first().map(|gap| gap.from);
        let first = first_row.into_iter().chain(first_gap).min().unwrap_or(now);
        // An archive that nobody writes to any more ends with its last hour.
        let last_row = self.rows.keys().next_back().map(|hour| hour.start());
        let last_gap = self.gaps.iter().filter_map(|gap| gap.to).max();
        let last = last_row.into_iter().chain(last_gap).max().unwrap_or(now);
        let begin = day(from.unwrap_or(first));
        let end = to.map_or(day(last) + DAY, |to| to.seconds().next_multiple_of(DAY));
        let (first, behind) = (UnixNanos::from_seconds(begin), UnixNanos::from_seconds(end));
        self.rows.retain(|hour, _| hour.start() >= first && hour.start() < behind);
        self.days = days(begin, end, self.rows.keys().map(|hour| day(hour.start())));
        let hours = self.days.iter().flat_map(|day| hours_of(*day));
        self.in_hours = by_hour(&self.gaps, hours, now.min(behind));
        self.gaps.retain(|gap| gap.from < behind && gap.to.is_none_or(|to| to > first));
    }

    fn cell(&self, hour: Hour, now: UnixNanos) -> Cell<'_> {
        let (row, gaps) = (self.rows.get(&hour), self.in_hours.get(&hour));
        let length = hour.end().min(now).since(hour.start());
        let known = (row.is_some() || gaps.is_some()) && !length.is_zero();
        let lasting = gaps.map_or(Duration::ZERO, |gaps| gaps.lasting);
        let gone = row.is_some_and(|row| row.state == Standing::Missing);
        let there = 1.0 - (lasting.as_secs_f64() / length.as_secs_f64()).min(1.0);
        let share = known.then_some(if gone { 0.0 } else { there });
        Cell { share, unknown: gaps.is_some_and(|gaps| gaps.unknown), row }
    }

    /// Each day's first second, with its hours.
    fn days(&self, now: UnixNanos) -> impl Iterator<Item = (u64, Vec<Cell<'_>>)> {
        self.days
            .iter()
            .map(move |day| (*day, hours_of(*day).map(|hour| self.cell(hour, now)).collect()))
    }

    fn most_messages(&self) -> u64 {
        self.rows.values().filter_map(|row| row.messages).max().unwrap_or(0)
    }

    fn totals(&self, now: UnixNanos) -> Totals {
        let mut totals = Totals::default();
        for cell in self.days(now).flat_map(|(_, cells)| cells) {
            let Some(share) = cell.share else { continue };
            totals.hours += 1;
            match cell.grade() {
                Grade::Unknown => totals.unknown += 1,
                grade => {
                    totals.complete += u64::from(grade == Grade::Complete);
                    totals.shares += share;
                }
            }
        }
        for row in self.rows.values().filter(|row| row.state != Standing::Missing) {
            totals.messages += row.messages.unwrap_or(0);
            totals.raw_bytes += row.raw_bytes.unwrap_or(0);
            totals.stored_bytes += row.stored_bytes;
        }
        totals
    }

    /// The longest gaps, in the order of time, and how many more there are.
    fn longest_gaps(&self, now: UnixNanos) -> (Vec<&Gap>, usize) {
        let mut gaps: Vec<_> = self.gaps.iter().collect();
        let lasting = |gap: &Gap| gap.to.unwrap_or(now).since(gap.from);
        // Those in which messages were dropped come first: they tell how many.
        gaps.sort_by_key(|gap| std::cmp::Reverse((gap.kind == Kind::Dropped, lasting(gap))));
        let more = gaps.len().saturating_sub(LISTED_GAPS);
        gaps.truncate(LISTED_GAPS);
        gaps.sort_by_key(|gap| gap.from);
        (gaps, more)
    }
}

fn hours_of(day: u64) -> impl Iterator<Item = Hour> {
    (day..day + DAY).step_by(3600).filter_map(Hour::starting_at)
}

/// The days from `begin` until before `end`, without long stretches of which there is nothing. The
/// days of which there is something come in order.
fn days(begin: u64, end: u64, filled: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut days = Vec::new();
    let mut next = begin;
    for day in filled.chain([end]) {
        if day.saturating_sub(next) <= LONGEST_BLANK {
            days.extend((next..day).step_by(86_400));
        }
        if day < end && days.last() != Some(&day) {
            days.push(day);
        }
        next = next.max(day + DAY);
    }
    days
}

#[derive(Default)]
struct Totals {
    /// Hours of which something is known.
    hours: u64,
    complete: u64,
    /// Hours of which a journal does not tell all.
    unknown: u64,
    /// The sum of the shares of all others.
    shares: f64,
    messages: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

/// One line for people.
impl std::fmt::Display for Totals {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hours, complete, unknown, shares, messages, raw_bytes, stored_bytes } = self;
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
    fn long_stretches_of_nothing_are_left_out() {
        let shown = |begin, end, filled: &[u64]| {
            let days = days(begin * DAY, end * DAY, filled.iter().map(|day| day * DAY));
            days.into_iter().map(|day| day / DAY).collect::<Vec<_>>()
        };
        assert_eq!(shown(10, 13, &[10, 10, 12]), [10, 11, 12]);
        assert_eq!(shown(10, 13, &[]), [10, 11, 12]);
        assert_eq!(shown(0, 20_001, &[0, 1, 20_000]), [0, 1, 20_000]);
        assert_eq!(shown(0, 20_001, &[]), Vec::<u64>::new());
    }
}

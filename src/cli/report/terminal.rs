//! The charts as text for a terminal, or as plain text for a file or a pipe.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::grade::Grade;
use super::hour_cell::HourCell;
use super::stem_report::{LongestGaps, StemReport};
use crate::base::time::UnixNanos;
use crate::cli::format::format_gap;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The appearance of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColorMode {
    /// Bars in the color of their grade, with ANSI escape codes.
    Color,
    /// One character per hour.
    Plain,
}

/// Returns all charts, one below the other.
pub(super) fn render_text(
    reports: &BTreeMap<String, StemReport>,
    now: UnixNanos,
    color: ColorMode,
) -> String {
    let mut text = String::new();
    for (stem, report) in reports {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}\n{}\n", stem, report.totals(now));
        push_chart(&mut text, report, now, color);
        text.push('\n');
        text += &legend(color);
        push_gaps(&mut text, report, now);
        text.push('\n');
    }
    if reports.is_empty() {
        text += "there is nothing to report\n";
    }
    text
}

fn push_chart(text: &mut String, report: &StemReport, now: UnixNanos, color: ColorMode) {
    text.push_str("            0     3     6     9    12    15    18    21      UTC\n");
    let max_messages = report.max_messages();
    let mut expected_day = None;
    for (day, cells) in report.cells_by_day(now) {
        if expected_day.is_some_and(|expected| expected != day) {
            text.push_str("…\n");
        }
        expected_day = Some(day.next());
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{}  ", day.date());
        for cell in cells {
            match color {
                ColorMode::Color => push_colored_bar(text, cell, max_messages),
                ColorMode::Plain => {
                    let _infallible = write!(text, "{} ", plain_char(cell));
                }
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

fn push_gaps(text: &mut String, report: &StemReport, now: UnixNanos) {
    let LongestGaps { shown, omitted } = report.longest_gaps(now);
    text.push_str(if shown.is_empty() { "\nno gaps\n" } else { "\n" });
    for gap in shown {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}", format_gap(gap, now));
    }
    if omitted > 0 {
        let _infallible = writeln!(text, "and {omitted} shorter ones: `streamer gaps` lists all");
    }
}

/// Returns `#` for a complete hour, otherwise the number of covered tenths.
fn plain_char(cell: HourCell<'_>) -> char {
    match (cell.grade(), cell.covered_fraction) {
        (Grade::Complete, _) => '#',
        (Grade::Unknown, _) => '?',
        (_, Some(covered)) => {
            let tenths = (0..10_u32).rev().find(|tenth| covered * 10.0 >= f64::from(*tenth));
            tenths.and_then(|tenth| char::from_digit(tenth, 10)).unwrap_or('0')
        }
        (_, None) => '.',
    }
}

/// Appends a bar whose height is the number of messages, in the color of the grade.
fn push_colored_bar(text: &mut String, cell: HourCell<'_>, max_messages: u64) {
    let grade = cell.grade();
    let bar = if grade == Grade::NoData { '·' } else { bar_char(cell.messages(), max_messages) };
    // Writing to a String cannot fail.
    let _infallible = write!(text, "\x1b[38;5;{}m{bar}{bar}\x1b[0m", color_of(grade));
}

/// Returns the bar for a number of messages; the highest bar is for `max_messages`.
fn bar_char(messages: u64, max_messages: u64) -> char {
    let eighth = u128::from(messages) * 7 / u128::from(max_messages.max(1));
    let index = usize::try_from(eighth).unwrap_or(usize::MAX);
    BARS.get(index).copied().unwrap_or('█')
}

/// Returns the number of the color among the 256 colors of xterm.
fn color_of(grade: Grade) -> u8 {
    match grade {
        Grade::NoData => 240,
        Grade::Complete => 35,
        Grade::AtLeast99 => 148,
        Grade::AtLeast90 => 220,
        Grade::AtLeast50 => 208,
        Grade::Below50 => 202,
        Grade::Zero => 160,
        Grade::Unknown => 135,
    }
}

fn legend(color: ColorMode) -> String {
    if color == ColorMode::Plain {
        return "# complete   9 to 0: covered tenths of the hour   ? unknown   . no recording\n"
            .to_owned();
    }
    let mut text = String::new();
    for (grade, label) in Grade::LEGEND {
        let _infallible = write!(text, "\x1b[38;5;{}m██\x1b[0m {label}   ", color_of(grade));
    }
    text += "(height: messages)\n";
    text
}

//! The picture for a terminal, or for whatever reads plain text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{DAY_SECONDS, Grade, HourCell, StemReport};
use crate::base::time::UnixNanos;
use crate::cli::gaps::format_gap as gap_text;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// All pictures, one below the other.
pub(super) fn render_text(
    pictures: &BTreeMap<String, StemReport>,
    now: UnixNanos,
    colour: bool,
) -> String {
    let mut text = String::new();
    for (stem, picture) in pictures {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}\n{}\n", stem, picture.totals(now));
        text += "            0     3     6     9    12    15    18    21      UTC\n";
        let most = picture.max_messages();
        let mut next = None;
        for (day, cells) in picture.cells_by_day(now) {
            if next.is_some_and(|next| next != day) {
                text += "…\n";
            }
            next = Some(day + DAY_SECONDS);
            let date = UnixNanos::from_seconds(day).to_string();
            let _infallible = write!(text, "{}  ", date.get(..10).unwrap_or(&date));
            for cell in cells {
                if colour {
                    write_colored(&mut text, cell, most);
                } else {
                    let _infallible = write!(text, "{} ", plain_char(cell));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text.push('\n');
        text += &legend(colour);
        let (gaps, more) = picture.longest_gaps(now);
        if gaps.is_empty() {
            text += "\nno gaps\n";
        } else {
            text.push('\n');
        }
        for gap in gaps {
            let _infallible = writeln!(text, "{}", gap_text(gap, now));
        }
        if more > 0 {
            let _infallible = writeln!(text, "and {more} shorter ones: `streamer gaps` lists all");
        }
        text.push('\n');
    }
    if pictures.is_empty() {
        text += "there is nothing to report\n";
    }
    text
}

/// One character: `#` for a complete hour, otherwise the tenths of it that are there.
fn plain_char(cell: HourCell<'_>) -> char {
    match (cell.grade(), cell.covered_fraction) {
        (Grade::Complete, _) => '#',
        (Grade::Unknown, _) => '?',
        (_, Some(share)) => {
            let tenths = (0..10_u32).rev().find(|tenth| share * 10.0 >= f64::from(*tenth));
            tenths.and_then(|tenth| char::from_digit(tenth, 10)).unwrap_or('0')
        }
        (_, None) => '.',
    }
}

/// A bar whose height is the volume, in the colour of the grade.
fn write_colored(text: &mut String, cell: HourCell<'_>, most: u64) {
    let grade = cell.grade();
    let bar = if grade == Grade::NoData { '·' } else { bar_char(cell.messages(), most) };
    // Writing to a String cannot fail.
    let _infallible = write!(text, "\x1b[38;5;{}m{bar}{bar}\x1b[0m", color_of(grade));
}

/// The height for so many messages.
fn bar_char(messages: u64, most: u64) -> char {
    let eighth = u128::from(messages) * 7 / u128::from(most.max(1));
    let index = usize::try_from(eighth).unwrap_or(usize::MAX);
    BARS.get(index).copied().unwrap_or('█')
}

/// The number of the colour among the 256 of xterm.
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

fn legend(colour: bool) -> String {
    if !colour {
        return "# complete   9 to 0: tenths of the hour that are there   ? unknown   . no recorder yet\n".to_owned();
    }
    let mut text = String::new();
    for (grade, words) in Grade::ALL {
        let _infallible = write!(text, "\x1b[38;5;{}m██\x1b[0m {words}   ", color_of(grade));
    }
    text += "(height: messages)\n";
    text
}

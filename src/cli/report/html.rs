//! The charts as one web page, without scripts and without other files.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use indicatif::{DecimalBytes, HumanCount};

use super::grade::Grade;
use super::hour_cell::HourCell;
use super::stem_report::{LongestGaps, StemReport};
use crate::base::time::UnixNanos;
use crate::cli::format::{format_cause, format_length};

const STYLE: &str = include_str!("style.css");

/// Returns the page with all charts.
pub(super) fn render_page(reports: &BTreeMap<String, StemReport>, now: UnixNanos) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_page(&mut page, reports, now);
    page
}

fn write_page(
    page: &mut String,
    reports: &BTreeMap<String, StemReport>,
    now: UnixNanos,
) -> fmt::Result {
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Archive, {now}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Archive</h1>\n<p>As of {now}. Hours are UTC.</p>\n"
    )?;
    write_legend(page)?;
    for (stem, report) in reports {
        writeln!(page, "<section>\n<h2>{}</h2>", Escaped(stem))?;
        writeln!(page, "<p>{}</p>", report.totals(now))?;
        write_map(page, report, now)?;
        write_gaps(page, report, now)?;
        writeln!(page, "</section>")?;
    }
    if reports.is_empty() {
        writeln!(page, "<p>There is nothing to report.</p>")?;
    }
    page.write_str("</body>\n</html>\n")
}

fn write_legend(page: &mut String) -> fmt::Result {
    page.write_str("<p class=\"legend\">")?;
    for (grade, label) in Grade::LEGEND {
        write!(page, "<span><i class=\"{}\"></i>{label}</span> ", css_class(grade))?;
    }
    page.write_str("<span>height: messages; number: covered percentage of the hour</span></p>\n")
}

fn write_map(page: &mut String, report: &StemReport, now: UnixNanos) -> fmt::Result {
    page.write_str("<table class=\"map\">\n<tr><th></th>")?;
    for hour in 0..24 {
        write!(page, "<th>{hour:02}</th>")?;
    }
    page.write_str("</tr>\n")?;
    let max_messages = report.max_messages();
    let mut expected_day = None;
    for (day, cells) in report.cells_by_day(now) {
        if expected_day.is_some_and(|expected| expected != day) {
            page.write_str("<tr><th>…</th></tr>\n")?;
        }
        expected_day = Some(day.next());
        let date = day.date();
        write!(page, "<tr><th>{date}</th>")?;
        for (hour, cell) in cells.into_iter().enumerate() {
            write_cell(page, &format!("{date} {hour:02}:00"), cell, max_messages)?;
        }
        page.write_str("</tr>\n")?;
    }
    page.write_str("</table>\n")
}

/// Writes one hour; `time` is its date and time.
fn write_cell(page: &mut String, time: &str, cell: HourCell<'_>, max_messages: u64) -> fmt::Result {
    let grade = cell.grade();
    let Some(covered) = cell.covered_fraction else {
        return write!(page, "<td class=\"{}\"></td>", css_class(grade));
    };
    let percent = floor_percent(covered);
    let height = u128::from(cell.messages()) * 100 / u128::from(max_messages.max(1));
    write!(page, "<td class=\"{}\" title=\"{time}: {percent} %", css_class(grade))?;
    if let Some(row) = cell.row {
        if let Some(messages) = row.messages {
            write!(page, ", {} messages", HumanCount(messages))?;
        }
        if let Some(bytes) = row.raw_bytes {
            write!(page, ", {}", DecimalBytes(bytes))?;
        }
        write!(page, ", {}, {} gaps", row.state, row.gaps)?;
    }
    write!(page, "\"><i style=\"height:{height}%\"></i>")?;
    if grade != Grade::Complete {
        write!(page, "<b>{percent}</b>")?;
    }
    page.write_str("</td>")
}

/// Returns the percentage, rounded down: 100 is a complete hour.
fn floor_percent(fraction: f64) -> String {
    format!("{:.0}", (fraction * 100.0).floor())
}

fn write_gaps(page: &mut String, report: &StemReport, now: UnixNanos) -> fmt::Result {
    let LongestGaps { shown, omitted } = report.longest_gaps(now);
    if shown.is_empty() {
        return page.write_str("<p>No gaps.</p>\n");
    }
    page.write_str(
        "<table class=\"gaps\">\n<tr><th>From (UTC)</th><th>To</th><th>Lasting</th><th>Kind</th>\
         <th>Certainty</th><th>Messages</th><th>Cause</th></tr>\n",
    )?;
    for gap in shown {
        let to = gap.to.map_or("goes on".to_owned(), |to| to.to_string());
        let lasting = format_length(gap, now);
        let messages = gap.messages.map_or(String::new(), |messages| messages.to_string());
        writeln!(
            page,
            "<tr><td>{}</td><td>{to}</td><td>{lasting}</td><td>{}</td><td>{}</td><td>{messages}</td><td>{}</td></tr>",
            gap.from,
            gap.kind,
            gap.certainty,
            Escaped(&format_cause(gap))
        )?;
    }
    page.write_str("</table>\n")?;
    if omitted > 0 {
        writeln!(page, "<p>And {omitted} shorter ones: <code>streamer gaps</code> lists all.</p>")?;
    }
    Ok(())
}

fn css_class(grade: Grade) -> &'static str {
    match grade {
        Grade::NoData => "blank",
        Grade::Complete => "complete",
        Grade::AtLeast99 => "nearly",
        Grade::AtLeast90 => "most",
        Grade::AtLeast50 => "half",
        Grade::Below50 => "less",
        Grade::Zero => "nothing",
        Grade::Unknown => "unknown",
    }
}

/// A text from outside, such as a server's message, with every character of markup escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            char => f.write_char(char),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_text_is_escaped() {
        let text = Escaped("<script>alert('&\"')</script>").to_string();
        assert_eq!(text, "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;");
    }

    #[test]
    fn only_a_complete_hour_shows_100_percent() {
        assert_eq!(floor_percent(1.0), "100");
        assert_eq!(floor_percent(0.999_9), "99");
        assert_eq!(floor_percent(0.0), "0");
    }
}

//! The picture as one web page: no script, nothing from elsewhere.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use indicatif::{DecimalBytes, HumanCount};

use super::{DAY_SECONDS, Grade, HourCell, StemReport};
use crate::base::time::UnixNanos;
use crate::cli::gaps::{HumanDuration, format_cause};

const STYLE: &str = include_str!("style.css");

pub(super) fn render_page(pictures: &BTreeMap<String, StemReport>, now: UnixNanos) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_page(&mut page, pictures, now);
    page
}

fn write_page(
    page: &mut String,
    pictures: &BTreeMap<String, StemReport>,
    now: UnixNanos,
) -> fmt::Result {
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Archive, {now}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Archive</h1>\n<p>As of {now}. Hours are UTC.</p>\n"
    )?;
    write_legend(page)?;
    for (stem, picture) in pictures {
        writeln!(page, "<section>\n<h2>{}</h2>", Escaped(stem))?;
        writeln!(page, "<p>{}</p>", picture.totals(now))?;
        write_map(page, picture, now)?;
        write_gaps(page, picture, now)?;
        writeln!(page, "</section>")?;
    }
    if pictures.is_empty() {
        writeln!(page, "<p>There is nothing to report.</p>")?;
    }
    page.write_str("</body>\n</html>\n")
}

fn write_legend(page: &mut String) -> fmt::Result {
    page.write_str("<p class=\"legend\">")?;
    for (grade, words) in Grade::ALL {
        write!(page, "<span><i class=\"{}\"></i>{words}</span> ", css_class(grade))?;
    }
    page.write_str(
        "<span>height: messages; number: the percentage of the hour that is there</span></p>\n",
    )
}

fn write_map(page: &mut String, picture: &StemReport, now: UnixNanos) -> fmt::Result {
    page.write_str("<table class=\"map\">\n<tr><th></th>")?;
    for hour in 0..24 {
        write!(page, "<th>{hour:02}</th>")?;
    }
    page.write_str("</tr>\n")?;
    let most = picture.max_messages();
    let mut next = None;
    for (day, cells) in picture.cells_by_day(now) {
        if next.is_some_and(|next| next != day) {
            page.write_str("<tr><th>…</th></tr>\n")?;
        }
        next = Some(day + DAY_SECONDS);
        let date = UnixNanos::from_seconds(day).to_string();
        let date = date.get(..10).unwrap_or(&date);
        write!(page, "<tr><th>{date}</th>")?;
        for (hour, cell) in cells.into_iter().enumerate() {
            write_cell(page, &format!("{date} {hour:02}:00"), cell, most)?;
        }
        page.write_str("</tr>\n")?;
    }
    page.write_str("</table>\n")
}

fn write_cell(page: &mut String, at: &str, cell: HourCell<'_>, most: u64) -> fmt::Result {
    let grade = cell.grade();
    let Some(share) = cell.covered_fraction else {
        return write!(page, "<td class=\"{}\"></td>", css_class(grade));
    };
    let percent = floor_percent(share);
    let height = u128::from(cell.messages()) * 100 / u128::from(most.max(1));
    write!(page, "<td class=\"{}\" title=\"{at}: {percent} %", css_class(grade))?;
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

/// The whole percentages that are there: 100 is all of it.
fn floor_percent(share: f64) -> String {
    format!("{:.0}", (share * 100.0).floor())
}

fn write_gaps(page: &mut String, picture: &StemReport, now: UnixNanos) -> fmt::Result {
    let (gaps, more) = picture.longest_gaps(now);
    if gaps.is_empty() {
        return page.write_str("<p>No gaps.</p>\n");
    }
    page.write_str(
        "<table class=\"gaps\">\n<tr><th>From (UTC)</th><th>To</th><th>Lasting</th><th>Kind</th>\
         <th>Certainty</th><th>Messages</th><th>Cause</th></tr>\n",
    )?;
    for gap in gaps {
        let to = gap.to.map_or("goes on".to_owned(), |to| to.to_string());
        let lasting = HumanDuration(gap.to.unwrap_or(now).saturating_since(gap.from));
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
    if more > 0 {
        writeln!(page, "<p>And {more} shorter ones: <code>streamer gaps</code> lists all.</p>")?;
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

/// A text of somebody else, a server's words say, in which no mark-up is one.
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

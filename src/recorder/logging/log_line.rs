//! A line of the log, before it is known where it goes.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use tracing::Level;

use super::line_style::LineStyle;
use crate::base::secrets::Secrets;
use crate::base::time::UnixNanos;

/// A line of the log.
#[derive(Debug)]
pub(super) struct LogLine {
    pub(super) time: UnixNanos,
    pub(super) level: Level,
    pub(super) body: LineBody,
}

/// The content of a line, in the format of the log.
#[derive(Debug)]
pub(super) enum LineBody {
    /// The level, the message and the fields, with the line feed.
    Text(String),
    /// The message and the fields, by name.
    Json(Map<String, Value>),
}

impl LogLine {
    /// Masks the secrets in the line, but not in its time, which may look like a short one.
    pub(super) fn mask(&mut self, secrets: &Secrets) {
        match &mut self.body {
            LineBody::Text(text) => *text = secrets.mask(text),
            LineBody::Json(fields) => fields.values_mut().for_each(|value| mask(value, secrets)),
        }
    }

    /// Returns the line as it is written, with its line feed.
    pub(super) fn render(&self, style: LineStyle) -> String {
        match (&self.body, style) {
            (LineBody::Text(text), LineStyle::Timed) => format!("{} {text}", self.time),
            (LineBody::Text(text), LineStyle::Journal) => self.with_priority(text.trim_start()),
            (LineBody::Json(fields), LineStyle::Timed) => {
                let time = Value::from(self.time.to_string());
                self.object([("time".to_owned(), time)], fields)
            }
            (LineBody::Json(fields), LineStyle::Journal) => {
                self.with_priority(&self.object([], fields))
            }
        }
    }

    /// Returns the text with the priority of the level in front of each of its lines
    /// (sd-daemon(3)).
    fn with_priority(&self, text: &str) -> String {
        let priority = match self.level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        text.split_inclusive('\n').fold(String::new(), |mut lines, line| {
            write!(lines, "<{priority}>{line}").expect("a string takes every text");
            lines
        })
    }

    /// Returns the line as an object that begins with these keys.
    fn object<const N: usize>(
        &self,
        first: [(String, Value); N],
        fields: &Map<String, Value>,
    ) -> String {
        let level = self.level.as_str().to_ascii_lowercase();
        let mut object: Map<_, _> = first.into_iter().collect();
        object.insert("level".to_owned(), level.into());
        object.extend(fields.clone());
        Value::Object(object).to_string() + "\n"
    }
}

/// Masks the secrets in a value. A number that is one becomes a string.
fn mask(value: &mut Value, secrets: &Secrets) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) => *text = secrets.mask(text),
        Value::Number(number) => {
            let text = number.to_string();
            let masked = secrets.mask(&text);
            if masked != text {
                *value = masked.into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| mask(value, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|value| mask(value, secrets)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(body: LineBody) -> LogLine {
        LogLine { time: UnixNanos::from_seconds(1_700_000_000), level: Level::WARN, body }
    }

    #[test]
    fn the_journal_gets_a_priority_for_each_line_and_no_time() {
        let line = line(LineBody::Text(" WARN two\nlines\n".to_owned()));
        assert_eq!(line.render(LineStyle::Journal), "<4>WARN two\n<4>lines\n");
        let timed = line.render(LineStyle::Timed);
        assert_eq!(timed, format!("{}  WARN two\nlines\n", line.time));
    }

    #[test]
    fn a_masked_object_stays_json() {
        let fields = json!({ "message": "key 4711", "port": 4711, "pid": 12, "of": ["4711"] });
        let mut line = line(LineBody::Json(fields.as_object().unwrap().clone()));
        line.mask(&Secrets::new(["4711".to_owned()]));
        let parsed: Value = serde_json::from_str(&line.render(LineStyle::Timed)).unwrap();
        let time = line.time.to_string();
        let expected = json!({
            "time": time, "level": "warn", "message": "key ***", "port": "***", "pid": 12, "of": ["***"],
        });
        assert_eq!(parsed, expected);
        let journal = line.render(LineStyle::Journal);
        assert!(journal.starts_with(r#"<4>{"level":"warn","message":"#), "{journal}");
    }
}

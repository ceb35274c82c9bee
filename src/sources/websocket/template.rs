//! Messages with gaps: `{topic}` and the like within the strings of a JSON value.

use serde_json::Value;

/// Stands for the list of topics, alone in a string.
pub(super) const TOPICS_PLACEHOLDER: &str = "topics";

/// Every name that stands in braces in a string of the value. A name is a JSON Pointer, or made of
/// letters, digits and `_`.
pub(super) fn placeholders(template: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for_each_string(template, &mut |text| {
        for (_, name) in split_placeholders(text) {
            found.extend(name.map(str::to_owned));
        }
    });
    found
}

/// The value with every name that `lookup` knows replaced. A string that is nothing but a name
/// becomes the value itself, a list or a number, say.
pub(super) fn fill_placeholders(template: &Value, lookup: &dyn Fn(&str) -> Option<Value>) -> Value {
    match template {
        Value::String(text) => fill_text(text, lookup),
        Value::Array(items) => items.iter().map(|item| fill_placeholders(item, lookup)).collect(),
        Value::Object(keys) => {
            let keys =
                keys.iter().map(|(key, value)| (key.clone(), fill_placeholders(value, lookup)));
            Value::Object(keys.collect())
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, lookup: &dyn Fn(&str) -> Option<Value>) -> Value {
    let mut filled = String::new();
    for (before, name) in split_placeholders(text) {
        filled.push_str(before);
        let Some(name) = name else { continue };
        match lookup(name) {
            None => filled.extend(["{", name, "}"]),
            Some(value) if name.len() + 2 == text.len() => return value,
            Some(Value::String(text)) => filled.push_str(&text),
            Some(value) => filled.push_str(&value.to_string()),
        }
    }
    Value::from(filled)
}

fn for_each_string(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().for_each(|item| for_each_string(item, found)),
        Value::Object(keys) => keys.values().for_each(|value| for_each_string(value, found)),
        _ => {}
    }
}

/// The text in pieces: what stands before a name in braces, and the name; and what stands behind the
/// last.
fn split_placeholders(text: &str) -> Vec<(&str, Option<&str>)> {
    let (mut pieces, mut rest, mut from) = (Vec::new(), text, 0);
    while let Some(open) = rest.get(from..).and_then(|ahead| ahead.find('{')) {
        let open = from + open;
        let inside = rest.get(open + 1..).unwrap_or_default();
        let close = inside
            .find('}')
            .filter(|close| is_placeholder_name(inside.get(..*close).unwrap_or("")));
        if let Some(close) = close {
            pieces.push((rest.get(..open).unwrap_or_default(), inside.get(..close)));
            rest = inside.get(close + 1..).unwrap_or_default();
            from = 0;
        } else {
            from = open + 1;
        }
    }
    pieces.push((rest, None));
    pieces
}

fn is_placeholder_name(text: &str) -> bool {
    text.starts_with('/')
        || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// The form of a topic, such as `{channel}:{symbol}`: the parts that its text consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicForm {
    pattern: String,
}

impl TopicForm {
    pub(super) fn new(text: &str) -> Self {
        Self { pattern: text.to_owned() }
    }

    /// The parts of a topic with their names; `None` when it does not have the form. A part ends at
    /// the first place at which what follows it can begin; the last takes what is left.
    pub(super) fn parts<'t>(&self, topic: &'t str) -> Option<Vec<(String, &'t str)>> {
        let pieces = split_placeholders(&self.pattern);
        let (mut parts, mut rest) = (Vec::new(), topic);
        let mut pending: Option<&str> = None;
        for (before, name) in pieces {
            match pending.take() {
                None => rest = rest.strip_prefix(before)?,
                Some(waiting) if before.is_empty() && name.is_none() => {
                    parts.push((waiting.to_owned(), rest));
                    rest = "";
                }
                Some(waiting) => {
                    let (part, behind) = rest.split_once(before)?;
                    parts.push((waiting.to_owned(), part));
                    rest = behind;
                }
            }
            pending = name;
        }
        let whole = parts.iter().all(|(_, part)| !part.is_empty());
        (rest.is_empty() && whole).then_some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_placeholders_are_filled_and_other_braces_kept() {
        let lookup = |name: &str| match name {
            "topics" => Some(json!(["a", "b"])),
            "id" => Some(json!(7)),
            "topic" => Some(json!("t\"x")),
            _ => None,
        };
        let template = json!({"op": "sub.{topic}.{id}", "args": "{topics}", "id": "{id}",
            "n": [1, "{other} {} {a b} {"]});
        assert_eq!(
            fill_placeholders(&template, &lookup).to_string(),
            r#"{"op":"sub.t\"x.7","args":["a","b"],"id":7,"n":[1,"{other} {} {a b} {"]}"#
        );
        assert_eq!(placeholders(&template), ["topic", "id", "topics", "id", "other"]);
    }

    #[test]
    fn a_topic_is_split_by_its_form() {
        let form = TopicForm::new("{channel}:{symbol}");
        assert_eq!(
            form.parts("trades:BTC:USD").unwrap(),
            [("channel".to_owned(), "trades"), ("symbol".to_owned(), "BTC:USD")]
        );
        for topic in ["trades", ":x", "x:", ""] {
            assert_eq!(form.parts(topic), None, "{topic}");
        }
        assert_eq!(TopicForm::new("{topic}").parts("a:b").unwrap(), [("topic".to_owned(), "a:b")]);
    }
}

//! Message templates: JSON values with placeholders such as `{topic}` in their strings.

use serde_json::Value;

/// Name of the placeholder for the list of topics, which must be a string of its own.
pub(super) const TOPICS_PLACEHOLDER: &str = "topics";
/// Name of the placeholder for one topic. One message is sent for each topic.
pub(super) const TOPIC_PLACEHOLDER: &str = "topic";

/// Returns the names of all placeholders in a template, in order.
///
/// A name is a JSON Pointer, or consists of letters, digits and `_`.
pub(super) fn placeholders(template: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for_each_string(template, &mut |text| {
        for piece in split_placeholders(text) {
            names.extend(piece.placeholder.map(str::to_owned));
        }
    });
    names
}

/// Replaces every placeholder that `lookup` knows.
///
/// A string that consists of one placeholder becomes the value itself, such as a list or a number.
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
    for Piece { literal, placeholder } in split_placeholders(text) {
        filled.push_str(literal);
        let Some(name) = placeholder else { continue };
        match lookup(name) {
            None => filled.extend(["{", name, "}"]),
            Some(value) if name.len() + 2 == text.len() => return value,
            Some(Value::String(text)) => filled.push_str(&text),
            Some(value) => filled.push_str(&value.to_string()),
        }
    }
    Value::from(filled)
}

fn for_each_string(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| for_each_string(item, visit)),
        Value::Object(keys) => keys.values().for_each(|value| for_each_string(value, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A part of a text: literal text and the placeholder after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece<'a> {
    literal: &'a str,
    /// Name of the placeholder; absent from the last piece.
    placeholder: Option<&'a str>,
}

fn split_placeholders(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut searched_up_to = 0;
    while let Some(open) = rest.split_at(searched_up_to).1.find('{') {
        let open = searched_up_to + open;
        let inside = rest.split_at(open + 1).1;
        match inside.split_once('}') {
            Some((name, after)) if is_placeholder_name(name) => {
                let literal = rest.split_at(open).0;
                pieces.push(Piece { literal, placeholder: Some(name) });
                rest = after;
                searched_up_to = 0;
            }
            _ => searched_up_to = open + 1,
        }
    }
    pieces.push(Piece { literal: rest, placeholder: None });
    pieces
}

fn is_placeholder_name(text: &str) -> bool {
    text.starts_with('/')
        || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// The form of a topic, such as `{channel}:{symbol}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicForm {
    pattern: String,
}

/// The part of a topic that stands for a placeholder of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicPart<'a> {
    /// Name of the placeholder.
    pub(super) name: &'a str,
    /// Text of the part, never empty.
    pub(super) value: &'a str,
}

impl TopicForm {
    pub(super) fn new(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned() }
    }

    /// Splits a topic into its parts. Returns `None` if the topic does not have the form.
    ///
    /// A part ends at the first occurrence of the literal that follows it. The last part takes the
    /// rest.
    pub(super) fn parts<'a>(&'a self, topic: &'a str) -> Option<Vec<TopicPart<'a>>> {
        let mut parts = Vec::new();
        let mut rest = topic;
        let mut open_part: Option<&str> = None;
        for Piece { literal, placeholder } in split_placeholders(&self.pattern) {
            match open_part.take() {
                None => rest = rest.strip_prefix(literal)?,
                Some(name) if literal.is_empty() && placeholder.is_none() => {
                    parts.push(TopicPart { name, value: rest });
                    rest = "";
                }
                Some(name) => {
                    let (value, after) = rest.split_once(literal)?;
                    parts.push(TopicPart { name, value });
                    rest = after;
                }
            }
            open_part = placeholder;
        }
        let has_empty_part = parts.iter().any(|part| part.value.is_empty());
        (rest.is_empty() && !has_empty_part).then_some(parts)
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
            [
                TopicPart { name: "channel", value: "trades" },
                TopicPart { name: "symbol", value: "BTC:USD" }
            ]
        );
        for topic in ["trades", ":x", "x:", ""] {
            assert_eq!(form.parts(topic), None, "{topic}");
        }
        let whole = TopicForm::new("{topic}");
        assert_eq!(whole.parts("a:b").unwrap(), [TopicPart { name: "topic", value: "a:b" }]);
    }
}

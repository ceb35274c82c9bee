//! A text that is taken from a message: its topic, or what tells it from others.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Pointer, PointerError, scalar_text};

/// Says which text is taken from a message: a JSON Pointer, such as `/topic`; several in a template,
/// such as `{/arg/channel}.{/arg/instId}`; or a list of these, of which the first that is complete
/// counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    alternatives: Vec<Template>,
}

/// What stands between pointers, and the pointers: `before` comes in front of each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    parts: Vec<TemplatePart>,
    suffix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TemplatePart {
    literal: String,
    pointer: Pointer,
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// One of its pointers is none.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// A brace that is not closed, or none at all.
    #[error(
        "`{0}` is neither a JSON Pointer such as \"/topic\" nor a template of such in braces, as \"{{/arg/channel}}.{{/arg/instId}}\""
    )]
    Template(String),
    /// An empty list.
    #[error("the list of pointers is empty")]
    Empty,
}

impl Template {
    fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.starts_with('/') {
            let part = TemplatePart { literal: String::new(), pointer: Pointer::parse(text)? };
            return Ok(Self { parts: vec![part], suffix: String::new() });
        }
        let fail = || SelectorError::Template(text.to_owned());
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            let (pointer, behind) = behind.split_once('}').ok_or_else(fail)?;
            parts.push(TemplatePart {
                literal: before.to_owned(),
                pointer: Pointer::parse(pointer)?,
            });
            rest = behind;
        }
        if parts.is_empty() || rest.contains('}') {
            return Err(fail());
        }
        Ok(Self { parts, suffix: rest.to_owned() })
    }

    fn render(&self, json: &[u8], out: &mut String) -> Option<()> {
        for TemplatePart { literal: before, pointer } in &self.parts {
            out.push_str(before);
            out.push_str(&scalar_text(pointer.find(json)?)?);
        }
        out.push_str(&self.suffix);
        Some(())
    }

    /// The pointer, when there is nothing else.
    fn as_pointer(&self) -> Option<&Pointer> {
        match self.parts.as_slice() {
            [part] if part.literal.is_empty() && self.suffix.is_empty() => Some(&part.pointer),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pointer) = self.as_pointer() {
            return pointer.fmt(f);
        }
        for TemplatePart { literal: before, pointer } in &self.parts {
            write!(f, "{before}{{{pointer}}}")?;
        }
        f.write_str(&self.suffix)
    }
}

impl Selector {
    /// A selector of one pointer or template.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { alternatives: vec![Template::parse(text)?] })
    }

    /// A selector of several, of which the first that is complete counts.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn any_of<T: AsRef<str>>(texts: &[T]) -> Result<Self, SelectorError> {
        if texts.is_empty() {
            return Err(SelectorError::Empty);
        }
        let alternatives = texts.iter().map(|text| Template::parse(text.as_ref()));
        Ok(Self { alternatives: alternatives.collect::<Result<_, _>>()? })
    }

    /// The text that it takes from this message. `room` is where it is put together, where that is
    /// needed.
    pub fn select<'a>(&self, json: &'a [u8], room: &'a mut String) -> Option<Cow<'a, str>> {
        if let Some(pointer) = self.as_pointer() {
            return scalar_text(pointer.find(json)?);
        }
        for template in &self.alternatives {
            room.clear();
            if template.render(json, room).is_some() {
                return Some(Cow::Borrowed(room.as_str()));
            }
        }
        None
    }

    /// The text that the template of this number takes, if it is complete.
    pub(super) fn render_template(
        &self,
        number: usize,
        json: &[u8],
        room: &mut String,
    ) -> Option<()> {
        room.clear();
        self.alternatives.get(number)?.render(json, room)
    }

    /// The pointer, when there is nothing else.
    pub(super) fn as_pointer(&self) -> Option<&Pointer> {
        match self.alternatives.as_slice() {
            [template] => template.as_pointer(),
            _ => None,
        }
    }

    /// The pointers of each template, in order.
    pub(super) fn pointers(&self) -> impl Iterator<Item = impl Iterator<Item = &Pointer>> {
        self.alternatives.iter().map(|template| template.parts.iter().map(|part| &part.pointer))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, template) in self.alternatives.iter().enumerate() {
            write!(f, "{}{template}", if index > 0 { " or " } else { "" })?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Self::parse(&text).map_err(D::Error::custom),
            Value::Array(items) => {
                let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                let texts = texts
                    .ok_or_else(|| D::Error::custom("a list of pointers is a list of texts"))?;
                Self::any_of(&texts).map_err(D::Error::custom)
            }
            other => {
                Err(D::Error::custom(format!("`{other}` is neither a text nor a list of texts")))
            }
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [template] = self.alternatives.as_slice() {
            return serializer.collect_str(template);
        }
        serializer.collect_seq(self.alternatives.iter().map(ToString::to_string))
    }
}

impl JsonSchema for Selector {
    fn schema_name() -> Cow<'static, str> {
        "Selector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Which text is taken from a message: a JSON Pointer (RFC 6901), such as \"/topic\"; several in a template, such as \"{/arg/channel}.{/arg/instId}\"; or a list of these, of which the first that is complete counts.",
            "type": ["string", "array"],
            "items": { "type": "string" },
            "minItems": 1,
            "pattern": "^/|\\{/",
            "examples": ["/topic", "{/arg/channel}.{/arg/instId}"],
        })
    }
}

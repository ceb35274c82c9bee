//! Rules by which a text is taken from a message: its topic, or a key that identifies it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Pointer, PointerError, scalar_text};

/// A rule by which a text is taken from a message.
///
/// Users write it as a JSON Pointer, such as `/topic`; as a template with several pointers, such as
/// `{/arg/channel}.{/arg/instId}`; or as a list of these, of which the first that finds all its
/// values counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    alternatives: Vec<Template>,
}

/// Pointers with the literal text between them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    parts: Vec<TemplatePart>,
    suffix: String,
}

/// A pointer, and the literal text in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TemplatePart {
    literal: String,
    pointer: Pointer,
}

/// The position of a template in the list of a selector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TemplateIndex(usize);

impl TemplateIndex {
    /// Returns the index of the template at this position, from 0.
    pub(super) const fn new(position: usize) -> Self {
        Self(position)
    }
}

/// The error for a text that is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A pointer in the text is not a JSON Pointer.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// The text has an unbalanced brace, or neither a pointer nor a brace.
    #[error(
        "`{0}` is neither a JSON Pointer such as \"/topic\" nor a template of such in braces, as \"{{/arg/channel}}.{{/arg/instId}}\""
    )]
    Template(String),
    /// The list of pointers is empty.
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
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after_brace)) = rest.split_once('{') {
            let (pointer, after_pointer) = after_brace.split_once('}').ok_or_else(fail)?;
            let pointer = Pointer::parse(pointer)?;
            parts.push(TemplatePart { literal: literal.to_owned(), pointer });
            rest = after_pointer;
        }
        if parts.is_empty() || rest.contains('}') {
            return Err(fail());
        }
        Ok(Self { parts, suffix: rest.to_owned() })
    }

    /// Appends the text of a message; `None` if a pointer finds no text.
    fn render(&self, json: &[u8], out: &mut String) -> Option<()> {
        for TemplatePart { literal, pointer } in &self.parts {
            out.push_str(literal);
            out.push_str(&scalar_text(pointer.find(json)?)?);
        }
        out.push_str(&self.suffix);
        Some(())
    }

    /// Returns the pointer, if the template is nothing else.
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
        for TemplatePart { literal, pointer } in &self.parts {
            write!(f, "{literal}{{{pointer}}}")?;
        }
        f.write_str(&self.suffix)
    }
}

impl Selector {
    /// Parses a selector of one pointer or template.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { alternatives: vec![Template::parse(text)?] })
    }

    /// Parses a selector of several alternatives, of which the first that finds all its values
    /// counts.
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

    /// Returns the text that is selected in a message, if there is one.
    ///
    /// `buffer` holds the text where it must be put together.
    pub fn select<'a>(&self, json: &'a [u8], buffer: &'a mut String) -> Option<Cow<'a, str>> {
        Some(self.select_template(json, buffer)?.1)
    }

    /// Returns the text that is selected in a message, with the template that selected it.
    pub(super) fn select_template<'a>(
        &self,
        json: &'a [u8],
        buffer: &'a mut String,
    ) -> Option<(TemplateIndex, Cow<'a, str>)> {
        if let Some(pointer) = self.as_pointer() {
            return Some((TemplateIndex::default(), scalar_text(pointer.find(json)?)?));
        }
        for (position, template) in self.alternatives.iter().enumerate() {
            buffer.clear();
            if template.render(json, buffer).is_some() {
                return Some((TemplateIndex(position), Cow::Borrowed(buffer.as_str())));
            }
        }
        None
    }

    /// Returns the pointer, if the selector is nothing else.
    pub(super) fn as_pointer(&self) -> Option<&Pointer> {
        match self.alternatives.as_slice() {
            [template] => template.as_pointer(),
            _ => None,
        }
    }

    /// Returns the pointers of each template, in order.
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
                let texts = texts.ok_or_else(|| {
                    D::Error::custom("a list of pointers must contain texts only")
                })?;
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
            "description": "The text that is taken from a message: a JSON Pointer (RFC 6901), such as \"/topic\"; a template with several, such as \"{/arg/channel}.{/arg/instId}\"; or a list of these, of which the first that finds all its values counts.",
            "type": ["string", "array"],
            "items": { "type": "string" },
            "minItems": 1,
            "pattern": "^/|\\{/",
            "examples": ["/topic", "{/arg/channel}.{/arg/instId}"],
        })
    }
}

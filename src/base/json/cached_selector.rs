//! A selector that remembers where it found its values in the previous message.

use std::borrow::Cow;

use super::json_cursor::JsonCursor;
use super::selector::TemplateIndex;
use super::{Pointer, Selector};

/// Longest prefix, in bytes, that is remembered. A value further into a message is found by a walk.
const MAX_PREFIX_LEN: usize = 128;
/// Longest value, in bytes, that is worth caching. A longer one is no name that recurs.
const MAX_CACHED_VALUE_LEN: usize = 255;

/// Finds in each message the values that its selector selects, as they are written there.
///
/// The messages of a feed mostly have one shape, and then a lookup costs the comparison of a few
/// bytes.
#[derive(Debug)]
pub(crate) struct CachedSelector {
    selector: Selector,
    pointers: CachedPointers,
}

/// The pointers of a selector with their caches.
#[derive(Debug)]
enum CachedPointers {
    /// The selector is a single pointer.
    Single(CachedPointer),
    /// The pointers of each template, in order.
    Templates(Vec<Vec<CachedPointer>>),
}

/// A pointer, and the bytes that preceded its value when it was last found.
///
/// The walk to a value looks at nothing but these bytes, so in a message that begins with the same
/// bytes the value begins where they end.
#[derive(Debug)]
struct CachedPointer {
    pointer: Pointer,
    prefix: Vec<u8>,
}

impl CachedPointer {
    fn new(pointer: &Pointer) -> Self {
        Self { pointer: pointer.clone(), prefix: Vec::new() }
    }

    fn find<'a>(&mut self, json: &'a [u8]) -> Option<&'a [u8]> {
        if let Some(rest) = json.strip_prefix(self.prefix.as_slice())
            && !self.prefix.is_empty()
        {
            return JsonCursor::new(rest).value();
        }
        let value = self.pointer.find(json)?;
        let start = value.as_ptr().addr() - json.as_ptr().addr();
        if let Some(prefix) = json.get(..start).filter(|_| start <= MAX_PREFIX_LEN) {
            self.prefix.clear();
            self.prefix.extend_from_slice(prefix);
        }
        Some(value)
    }
}

impl CachedSelector {
    /// Creates a cache that has seen no message yet.
    pub(crate) fn new(selector: Selector) -> Self {
        let pointers = match selector.as_pointer() {
            Some(pointer) => CachedPointers::Single(CachedPointer::new(pointer)),
            None => CachedPointers::Templates(
                selector.pointers().map(|all| all.map(CachedPointer::new).collect()).collect(),
            ),
        };
        Self { selector, pointers }
    }

    /// Returns the text that is selected in a message with this [`raw_key`](Self::raw_key).
    ///
    /// `buffer` holds the text where it must be put together.
    pub(crate) fn resolve_text<'a>(
        &self,
        json: &'a [u8],
        key: &RawKey<'_>,
        buffer: &'a mut String,
    ) -> ResolvedText<'a> {
        match self.selector.select_template(json, buffer) {
            Some((template, text)) => ResolvedText {
                text: Some(text),
                is_cacheable: key.is_cacheable && template == key.template,
            },
            None => ResolvedText { text: None, is_cacheable: false },
        }
    }

    /// Returns the bytes of the selected values, or `None` if the message has no text.
    ///
    /// Messages with the same key have the same text if [`resolve_text`](Self::resolve_text) says
    /// that it is cacheable. `buffer` holds the key where it must be put together.
    pub(crate) fn raw_key<'a>(
        &mut self,
        json: &'a [u8],
        buffer: &'a mut Vec<u8>,
    ) -> Option<RawKey<'a>> {
        let templates = match &mut self.pointers {
            CachedPointers::Templates(templates) => templates,
            CachedPointers::Single(pointer) => {
                let value = pointer.find(json).filter(|value| can_have_text(value))?;
                let is_cacheable = is_cacheable(value);
                let template = TemplateIndex::default();
                return Some(RawKey { bytes: value, template, is_cacheable });
            }
        };
        for (number, pointers) in templates.iter_mut().enumerate() {
            buffer.clear();
            buffer.extend_from_slice(&number.to_le_bytes());
            let mut is_complete = true;
            let mut all_cacheable = true;
            for pointer in pointers {
                // Searched even after a miss, so that each pointer keeps its prefix up to date.
                let value = pointer.find(json);
                let value = value.filter(|value| is_complete && can_have_text(value));
                is_complete = value.is_some();
                let value = value.unwrap_or_default();
                all_cacheable &= is_cacheable(value);
                buffer.extend_from_slice(&value.len().to_le_bytes());
                buffer.extend_from_slice(value);
            }
            if is_complete {
                let template = TemplateIndex::new(number);
                return Some(RawKey { bytes: buffer, template, is_cacheable: all_cacheable });
            }
        }
        None
    }
}

/// The selected values of a message as they are written there.
pub(crate) struct RawKey<'a> {
    pub(crate) bytes: &'a [u8],
    /// The template of the selector that selected the values.
    template: TemplateIndex,
    /// Set if all values are short enough to be cached.
    is_cacheable: bool,
}

/// The text that a selector selects in a message.
pub(crate) struct ResolvedText<'a> {
    pub(crate) text: Option<Cow<'a, str>>,
    /// Set if every message with the same [`RawKey`] has this text.
    pub(crate) is_cacheable: bool,
}

fn is_cacheable(value: &[u8]) -> bool {
    value.len() <= MAX_CACHED_VALUE_LEN
}

/// Returns whether a value can have a text, see [`scalar_text`](super::scalar_text).
fn can_have_text(value: &[u8]) -> bool {
    !matches!(value.first(), None | Some(b'{' | b'[' | b'n'))
}

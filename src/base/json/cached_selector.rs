//! Finding the same texts in message after message.

use std::borrow::Cow;

use super::{Pointer, Selector};

/// A place in a message further than this from its start is found by a walk each time.
const MAX_PREFIX_LEN: usize = 128;
/// A value longer than this is no name that comes again.
const MAX_CACHED_VALUE_LEN: usize = 255;

/// Finds in each message what its selector selects, as it is written there. Messages of a feed mostly
/// have one shape, and then all of this costs the comparison of a few bytes.
#[derive(Debug)]
pub(crate) struct CachedSelector {
    selector: Selector,
    /// For each pointer of the selector, in order.
    prefixes: Vec<PrefixCache>,
}

/// What stood before a value when it was last found. The walk to a value looks at nothing else, so
/// where the same bytes stand again, the value begins at their end.
#[derive(Debug, Default)]
struct PrefixCache(Vec<u8>);

impl PrefixCache {
    fn find<'a>(&mut self, pointer: &Pointer, json: &'a [u8]) -> Option<&'a [u8]> {
        if let Some(rest) = json.strip_prefix(self.0.as_slice())
            && !self.0.is_empty()
        {
            return super::json_cursor::JsonCursor::new(rest).value();
        }
        let value = pointer.find(json)?;
        let start = value.as_ptr().addr() - json.as_ptr().addr();
        if let Some(before) = json.get(..start).filter(|_| start <= MAX_PREFIX_LEN) {
            self.0.clear();
            self.0.extend_from_slice(before);
        }
        Some(value)
    }
}

impl CachedSelector {
    pub(crate) fn new(selector: Selector) -> Self {
        let trails = selector.pointers().flatten().map(|_| PrefixCache::default()).collect();
        Self { selector, prefixes: trails }
    }

    /// The text of a message, and whether all messages that are [`written`](Self::written) like it
    /// have the same.
    pub(crate) fn resolve_text<'a>(
        &self,
        json: &'a [u8],
        written: &RawKey<'_>,
        room: &'a mut String,
    ) -> (Option<Cow<'a, str>>, bool) {
        let whole = self.selector.render_template(written.template, json, room).is_some();
        (self.selector.select(json, room), whole && written.is_cacheable)
    }

    /// The bytes of the values that are selected: messages that give the same bytes have the same
    /// text, unless their template gives none. Nothing means that there is no text. `room` is where
    /// they are put together, where that is needed.
    pub(crate) fn raw_key<'a>(
        &mut self,
        json: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Option<RawKey<'a>> {
        let mut trails = self.prefixes.iter_mut();
        if let Some(pointer) = self.selector.as_pointer() {
            let value = trails.next()?.find(pointer, json)?;
            let lasting = is_cacheable(value);
            return can_have_text(value).then_some(RawKey {
                bytes: value,
                template: 0,
                is_cacheable: lasting,
            });
        }
        for (number, pointers) in self.selector.pointers().enumerate() {
            room.clear();
            room.extend_from_slice(&number.to_le_bytes());
            let (mut whole, mut lasting) = (true, true);
            for pointer in pointers {
                let trail = trails.next()?;
                let value = trail.find(pointer, json).filter(|value| whole && can_have_text(value));
                let value = value.unwrap_or_else(|| {
                    whole = false;
                    &[]
                });
                lasting &= is_cacheable(value);
                room.extend_from_slice(&value.len().to_le_bytes());
                room.extend_from_slice(value);
            }
            if whole {
                return Some(RawKey { bytes: room, template: number, is_cacheable: lasting });
            }
        }
        None
    }
}

/// The values of a message, see [`Seeker::written`].
pub(crate) struct RawKey<'a> {
    pub(crate) bytes: &'a [u8],
    /// Which template of the selector they are of.
    pub(crate) template: usize,
    /// Whether they are short enough to be kept.
    pub(crate) is_cacheable: bool,
}

fn is_cacheable(value: &[u8]) -> bool {
    value.len() <= MAX_CACHED_VALUE_LEN
}

/// Whether a value can have a text, see [`super::text`].
fn can_have_text(value: &[u8]) -> bool {
    !matches!(value.first(), None | Some(b'{' | b'[' | b'n'))
}

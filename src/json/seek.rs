//! Finding the same texts in message after message.

use std::borrow::Cow;

use super::{Pointer, Selector};

/// A place in a message further than this from its start is found by a walk each time.
const LONGEST_TRAIL: usize = 128;
/// A value longer than this is no name that comes again.
const LONGEST_VALUE: usize = 255;

/// Finds in each message what its selector selects, as it is written there. Messages of a feed mostly
/// have one shape, and then all of this costs the comparison of a few bytes.
#[derive(Debug)]
pub(crate) struct Seeker {
    selector: Selector,
    /// For each pointer of the selector, in order.
    trails: Vec<Trail>,
}

/// What stood before a value when it was last found. The walk to a value looks at nothing else, so
/// where the same bytes stand again, the value begins at their end.
#[derive(Debug, Default)]
struct Trail(Vec<u8>);

impl Trail {
    fn find<'a>(&mut self, pointer: &Pointer, json: &'a [u8]) -> Option<&'a [u8]> {
        if let Some(rest) = json.strip_prefix(self.0.as_slice())
            && !self.0.is_empty()
        {
            return super::walk::Walk::new(rest).value();
        }
        let value = pointer.find(json)?;
        let start = value.as_ptr().addr() - json.as_ptr().addr();
        if let Some(before) = json.get(..start).filter(|_| start <= LONGEST_TRAIL) {
            self.0.clear();
            self.0.extend_from_slice(before);
        }
        Some(value)
    }
}

impl Seeker {
    pub(crate) fn new(selector: Selector) -> Self {
        let trails = selector.pointers().flatten().map(|_| Trail::default()).collect();
        Self { selector, trails }
    }

    /// The text of a message, and whether all messages that are [`written`](Self::written) like it
    /// have the same.
    pub(crate) fn text<'a>(
        &self,
        json: &'a [u8],
        written: &Written<'_>,
        room: &'a mut String,
    ) -> (Option<Cow<'a, str>>, bool) {
        let whole = self.selector.fill(written.template, json, room).is_some();
        (self.selector.select(json, room), whole && written.lasting)
    }

    /// The bytes of the values that are selected: messages that give the same bytes have the same
    /// text, unless their template gives none. Nothing means that there is no text. `room` is where
    /// they are put together, where that is needed.
    pub(crate) fn written<'a>(
        &mut self,
        json: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Option<Written<'a>> {
        let mut trails = self.trails.iter_mut();
        if let Some(pointer) = self.selector.lone_pointer() {
            let value = trails.next()?.find(pointer, json)?;
            let lasting = is_short(value);
            return has_text(value).then_some(Written { bytes: value, template: 0, lasting });
        }
        for (number, pointers) in self.selector.pointers().enumerate() {
            room.clear();
            room.extend_from_slice(&number.to_le_bytes());
            let (mut whole, mut lasting) = (true, true);
            for pointer in pointers {
                let trail = trails.next()?;
                let value = trail.find(pointer, json).filter(|value| whole && has_text(value));
                let value = value.unwrap_or_else(|| {
                    whole = false;
                    &[]
                });
                lasting &= is_short(value);
                room.extend_from_slice(&value.len().to_le_bytes());
                room.extend_from_slice(value);
            }
            if whole {
                return Some(Written { bytes: room, template: number, lasting });
            }
        }
        None
    }
}

/// The values of a message, see [`Seeker::written`].
pub(crate) struct Written<'a> {
    pub(crate) bytes: &'a [u8],
    /// Which template of the selector they are of.
    pub(crate) template: usize,
    /// Whether they are short enough to be kept.
    pub(crate) lasting: bool,
}

fn is_short(value: &[u8]) -> bool {
    value.len() <= LONGEST_VALUE
}

/// Whether a value can have a text, see [`super::text`].
fn has_text(value: &[u8]) -> bool {
    !matches!(value.first(), None | Some(b'{' | b'[' | b'n'))
}

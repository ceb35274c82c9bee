//! The walk through a JSON text to one of its values.

use super::pointer_token::PointerToken;

/// A position in a JSON text.
#[derive(Clone, Copy)]
pub(super) struct JsonCursor<'a> {
    rest: &'a [u8],
}

impl<'a> JsonCursor<'a> {
    /// Creates a cursor at the start of the text.
    pub(super) fn new(json: &'a [u8]) -> Self {
        Self { rest: json }
    }

    /// Moves from a container to one of its values; `None` if there is no such value.
    pub(super) fn enter(&mut self, token: &PointerToken) -> Option<()> {
        self.skip_space();
        match self.next_byte()? {
            b'{' => self.enter_object(&token.key),
            b'[' => self.enter_array(token.index?),
            _ => None,
        }
    }

    /// Returns the bytes of the value at the cursor.
    pub(super) fn value(mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let start = self.rest;
        self.skip_value()?;
        start.get(..start.len() - self.rest.len()).filter(|value| !value.is_empty())
    }

    fn enter_object(&mut self, name: &str) -> Option<()> {
        loop {
            self.skip_space();
            let key = self.read_string()?;
            self.skip_space();
            self.expect_byte(b':')?;
            if is_key(key, name) {
                return Some(());
            }
            self.skip_space();
            self.skip_value()?;
            self.skip_space();
            self.expect_byte(b',')?;
        }
    }

    fn enter_array(&mut self, index: usize) -> Option<()> {
        for _ in 0..index {
            self.skip_space();
            self.skip_value()?;
            self.skip_space();
            self.expect_byte(b',')?;
        }
        self.skip_space();
        // The array may be empty, or end here.
        (*self.rest.first()? != b']').then_some(())
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.rest.first()? {
            b'"' => self.read_string().map(drop),
            b'{' | b'[' => self.skip_container(),
            _ => {
                let is_end = |byte: &u8| b",]} \t\r\n".contains(byte);
                let length = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
                self.advance(length)
            }
        }
    }

    /// Skips an object or an array by counting brackets, without checking that they match in kind.
    fn skip_container(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let length = self.rest.iter().position(|byte| is_structural(*byte))?;
            self.advance(length)?;
            match self.rest.first()? {
                b'"' => {
                    self.read_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                _ => depth = depth.checked_sub(1)?,
            }
            self.advance(1)?;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Reads a string and returns it with its quotes.
    fn read_string(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        self.expect_byte(b'"')?;
        loop {
            let stop = memchr::memchr2(b'"', b'\\', self.rest)?;
            let is_escape = self.rest.get(stop) == Some(&b'\\');
            // The byte after a backslash never ends the string.
            self.advance(stop + 1 + usize::from(is_escape))?;
            if !is_escape {
                return start.get(..start.len() - self.rest.len());
            }
        }
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn expect_byte(&mut self, byte: u8) -> Option<()> {
        (self.next_byte()? == byte).then_some(())
    }

    fn advance(&mut self, by: usize) -> Option<()> {
        self.rest = self.rest.get(by..)?;
        Some(())
    }
}

/// Returns whether [`JsonCursor::skip_container`] must look at the byte.
fn is_structural(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')
}

/// Returns whether a key, given with its quotes, spells `name`.
fn is_key(key: &[u8], name: &str) -> bool {
    let inner = key.get(1..key.len().saturating_sub(1)).unwrap_or_default();
    // With a backslash the bytes differ from the text, so equal bytes prove nothing.
    match memchr::memchr(b'\\', inner) {
        None => inner == name.as_bytes(),
        Some(_) => serde_json::from_slice::<String>(key).is_ok_and(|key| key == name),
    }
}

//! The walk itself.

use super::PointerToken;

/// A place in a JSON text.
#[derive(Clone, Copy)]
pub(super) struct JsonCursor<'a> {
    rest: &'a [u8],
}

impl<'a> JsonCursor<'a> {
    pub(super) fn new(json: &'a [u8]) -> Self {
        Self { rest: json }
    }

    /// Goes from a container to one of its values.
    pub(super) fn enter(&mut self, step: &PointerToken) -> Option<()> {
        self.skip_space();
        match self.next_byte()? {
            b'{' => self.enter_object(&step.key),
            b'[' => self.enter_array(step.index?),
            _ => None,
        }
    }

    /// The value that begins here, as it is written.
    pub(super) fn value(mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let from = self.rest;
        self.skip_value()?;
        from.get(..from.len() - self.rest.len()).filter(|value| !value.is_empty())
    }

    fn enter_object(&mut self, wanted: &str) -> Option<()> {
        loop {
            self.skip_space();
            let key = self.read_string()?;
            self.skip_space();
            self.expect_byte(b':')?;
            if is_key(key, wanted) {
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
        // An empty array, or one that ends here.
        (*self.rest.first()? != b']').then_some(())
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.rest.first()? {
            b'"' => self.read_string().map(drop),
            b'{' | b'[' => self.skip_container(),
            _ => {
                let ends = |byte: &u8| b",]} \t\r\n".contains(byte);
                let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
                self.advance(length)
            }
        }
    }

    /// Brackets are counted and not matched: in JSON they do.
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

    /// A string, with its quotes.
    fn read_string(&mut self) -> Option<&'a [u8]> {
        let from = self.rest;
        self.expect_byte(b'"')?;
        loop {
            let stop = memchr::memchr2(b'"', b'\\', self.rest)?;
            let escape = self.rest.get(stop) == Some(&b'\\');
            // The byte behind a backslash is never the end.
            self.advance(stop + 1 + usize::from(escape))?;
            if !escape {
                return from.get(..from.len() - self.rest.len());
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

/// Whether the skipping of a container must look at the byte.
fn is_structural(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')
}

/// Whether a key, with its quotes, says this.
fn is_key(key: &[u8], wanted: &str) -> bool {
    let inner = key.get(1..key.len().saturating_sub(1)).unwrap_or_default();
    // A backslash stands for something else than itself, even where the bytes are the same.
    match memchr::memchr(b'\\', inner) {
        None => inner == wanted.as_bytes(),
        Some(_) => serde_json::from_slice::<String>(key).is_ok_and(|key| key == wanted),
    }
}

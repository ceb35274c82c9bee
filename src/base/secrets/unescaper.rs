//! Undoing escapes of single characters, however often they were escaped.

use super::encoded_text::{EncodedText, Span};
use super::text_end::TextEnd;

/// Longest name in [`HTML_NAMES`].
const MAX_HTML_NAME: usize = 6;
/// Names of the ASCII characters in HTML that are no letters and no digits.
const HTML_NAMES: [(&str, u8); 39] = [
    ("amp", b'&'),
    ("lt", b'<'),
    ("gt", b'>'),
    ("quot", b'"'),
    ("apos", b'\''),
    ("tab", b'\t'),
    ("nbsp", b' '),
    ("excl", b'!'),
    ("num", b'#'),
    ("dollar", b'$'),
    ("percnt", b'%'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("ast", b'*'),
    ("midast", b'*'),
    ("plus", b'+'),
    ("comma", b','),
    ("dash", b'-'),
    ("hyphen", b'-'),
    ("period", b'.'),
    ("sol", b'/'),
    ("colon", b':'),
    ("semi", b';'),
    ("equals", b'='),
    ("quest", b'?'),
    ("commat", b'@'),
    ("lsqb", b'['),
    ("lbrack", b'['),
    ("bsol", b'\\'),
    ("rsqb", b']'),
    ("rbrack", b']'),
    ("hat", b'^'),
    ("lowbar", b'_'),
    ("grave", b'`'),
    ("lcub", b'{'),
    ("lbrace", b'{'),
    ("verbar", b'|'),
    ("vert", b'|'),
    ("rcub", b'}'),
];

/// Returns the text with every escape replaced by what it stands for: those of JSON and of programming
/// languages, of URLs and of HTML, also where the characters of an escape are escaped themselves.
/// Returns `None` if it has none.
///
/// The text is read from its end to its beginning, so that whatever follows a character that begins
/// an escape is decoded already. Each step removes a character, which makes the work linear.
pub(super) fn unescape(text: &EncodedText, text_end: TextEnd) -> Option<EncodedText> {
    if !text.bytes().iter().any(|byte| is_introducer(*byte)) {
        return None;
    }
    let mut suffix = Suffix { reversed: Vec::with_capacity(text.bytes().len()), text_end };
    for (byte, span) in text.bytes().iter().zip(text.spans()).rev() {
        suffix.push(Unit { byte: *byte, span: *span, depth: 0 });
    }
    let units = suffix.reversed.iter().rev();
    let bytes = units.clone().map(|unit| unit.byte).collect();
    let spans = units.map(|unit| unit.span).collect();
    Some(EncodedText::from_parts(bytes, spans, text.reaches_end()))
}

/// Returns whether an escape may begin with the byte.
fn is_introducer(byte: u8) -> bool {
    matches!(byte, b'\\' | b'%' | b'&')
}

/// A byte of the decoded text.
#[derive(Debug, Clone, Copy)]
struct Unit {
    byte: u8,
    span: Span,
    /// Number of escapes within each other that hold the byte.
    depth: u32,
}

/// The end of the text, decoded. Its first byte is the last of the list.
struct Suffix {
    reversed: Vec<Unit>,
    text_end: TextEnd,
}

/// The meaning of the first bytes of a suffix.
enum Escape {
    /// No escape.
    None,
    /// The first byte is an escape character before a character that means itself.
    Superfluous,
    /// So many bytes stand for one byte.
    Byte { length: usize, byte: u8 },
    /// So many bytes stand for a unit of UTF-16 or for a character.
    Code { length: usize, code: u32 },
    /// The text ends within an escape.
    Cut,
}

/// What was removed from the beginning of a suffix.
struct Removed {
    span: Span,
    /// Depth of what it stands for.
    depth: u32,
}

/// A number at the beginning of a suffix.
struct Number {
    value: u32,
    /// Number of its digits.
    digits: usize,
}

impl Suffix {
    /// Returns the byte at this index from the beginning.
    fn byte(&self, index: usize) -> Option<u8> {
        self.unit(index).map(|unit| unit.byte)
    }

    fn unit(&self, index: usize) -> Option<Unit> {
        self.reversed.get(self.reversed.len().checked_sub(index + 1)?).copied()
    }

    /// Puts a byte before the suffix, and decodes the escapes that begin with it.
    fn push(&mut self, unit: Unit) {
        self.reversed.push(unit);
        // What an escape stands for may begin an escape, too.
        while self.byte(0).is_some_and(is_introducer) {
            match self.escape() {
                Escape::None => return,
                Escape::Superfluous => {
                    let Removed { span, depth } = self.remove(1);
                    if let Some(first) = self.reversed.last_mut() {
                        first.span.start = span.start;
                        first.depth = depth.max(first.depth + 1);
                    }
                    // The byte that follows was looked at when it was pushed.
                    return;
                }
                Escape::Byte { length, byte } => {
                    let Removed { span, depth } = self.remove(length);
                    self.reversed.push(Unit { byte, span, depth });
                }
                Escape::Code { length, code } => {
                    let escape = self.remove(length);
                    self.push_code(code, &escape);
                }
                Escape::Cut => self.reversed.clear(),
            }
        }
    }

    /// Removes the first bytes, which are an escape.
    fn remove(&mut self, length: usize) -> Removed {
        let removed = self.reversed.split_off(self.reversed.len().saturating_sub(length));
        let nothing = Span { start: 0, end: 0 };
        let first = removed.last().map_or(nothing, |unit| unit.span);
        let last = removed.first().map_or(nothing, |unit| unit.span);
        let depth = removed.iter().map(|unit| unit.depth).max().unwrap_or_default();
        Removed { span: first.to(last), depth: depth + 1 }
    }

    /// Puts a character before the suffix. The first half of a surrogate pair takes the second with
    /// it, which was decoded before.
    fn push_code(&mut self, code: u32, escape: &Removed) {
        let mut code = code;
        let Removed { mut span, depth } = *escape;
        if code & 0xFFFF_FC00 == 0xD800
            && let Some(low) = self.low_surrogate()
        {
            code = 0x1_0000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
            span = span.to(self.remove(3).span);
        }
        let mut push = |byte: u32| {
            let [byte, ..] = byte.to_le_bytes();
            self.reversed.push(Unit { byte, span, depth });
        };
        // As UTF-8, also half of a pair.
        let more = |shift: u32| 0x80 | (code >> shift & 0x3F);
        match code {
            0..0x80 => push(code),
            0x80..0x800 => {
                push(more(0));
                push(0xC0 | code >> 6);
            }
            0x800..0x1_0000 => {
                push(more(0));
                push(more(6));
                push(0xE0 | code >> 12);
            }
            _ => {
                push(more(0));
                push(more(6));
                push(more(12));
                push(0xF0 | code >> 18);
            }
        }
    }

    /// Returns the second half of a surrogate pair if the suffix begins with one.
    fn low_surrogate(&self) -> Option<u32> {
        let [first, second, third] = [self.byte(0)?, self.byte(1)?, self.byte(2)?];
        let is_low = self.unit(0)?.depth > 0 && first == 0xED && second & 0xF0 == 0xB0;
        is_low.then(|| 0xDC00 | u32::from(second & 0x0F) << 6 | u32::from(third & 0x3F))
    }

    /// Returns what the suffix begins with.
    fn escape(&self) -> Escape {
        let found = match self.byte(0) {
            Some(b'\\') => self.backslash_escape(),
            Some(b'%') => self.percent_escape(),
            _ => self.html_escape(),
        };
        match found {
            Escape::Cut if self.text_end == TextEnd::Whole => Escape::None,
            Escape::Code { code: 0, .. } | Escape::Code { code: 0x11_0000.., .. } => Escape::None,
            found => found,
        }
    }

    fn backslash_escape(&self) -> Escape {
        let (Some(backslash), Some(next)) = (self.unit(0), self.unit(1)) else {
            return Escape::Cut;
        };
        // A backslash before the escape that was here, such as the first one of `\\n`.
        if next.depth > backslash.depth {
            return Escape::Superfluous;
        }
        let control = |byte| Escape::Byte { length: 2, byte };
        match next.byte {
            b'n' => control(b'\n'),
            b't' => control(b'\t'),
            b'r' => control(b'\r'),
            b'b' => control(0x08),
            b'f' => control(0x0C),
            b'u' => self.braced_escape(2).unwrap_or_else(|| self.code_escape(2, 4)),
            b'U' => self.code_escape(2, 8),
            b'x' => self.braced_escape(2).unwrap_or_else(|| self.byte_escape(2)),
            b'0'..=b'7' => {
                let number = self.number(1, 8, 3);
                match u8::try_from(number.value) {
                    Ok(byte) => Escape::Byte { length: 1 + number.digits, byte },
                    Err(_) => Escape::None,
                }
            }
            byte if byte.is_ascii_alphanumeric() => Escape::None,
            _ => Escape::Superfluous,
        }
    }

    fn percent_escape(&self) -> Escape {
        match self.byte(1) {
            Some(b'u' | b'U') => self.code_escape(2, 4),
            _ => self.byte_escape(1),
        }
    }

    fn html_escape(&self) -> Escape {
        if self.byte(1) != Some(b'#') {
            return self.named_escape();
        }
        let is_hex = matches!(self.byte(2), Some(b'x' | b'X'));
        let start = if is_hex { 3 } else { 2 };
        let Number { value, digits } = self.number(start, if is_hex { 16 } else { 10 }, usize::MAX);
        let end = start + digits;
        match self.byte(end) {
            None => Escape::Cut,
            _ if digits == 0 => Escape::None,
            Some(b';') => Escape::Code { length: end + 1, code: value },
            Some(_) => Escape::Code { length: end, code: value },
        }
    }

    fn named_escape(&self) -> Escape {
        let letters = (1..=MAX_HTML_NAME + 1).map_while(|index| self.byte(index));
        let name: Vec<u8> = letters.take_while(u8::is_ascii_alphabetic).collect();
        let length = name.len() + 2;
        match self.byte(name.len() + 1) {
            None => Escape::Cut,
            Some(b';') => {
                let is_named =
                    |(other, _): &&(&str, u8)| other.as_bytes().eq_ignore_ascii_case(&name);
                let found = HTML_NAMES.iter().find(is_named);
                found.map_or(Escape::None, |(_, byte)| Escape::Byte { length, byte: *byte })
            }
            Some(_) => Escape::None,
        }
    }

    /// Returns the byte that two hexadecimal digits from `start` on stand for.
    fn byte_escape(&self, start: usize) -> Escape {
        let number = self.number(start, 16, 2);
        match u8::try_from(number.value) {
            Ok(byte) if number.digits == 2 => Escape::Byte { length: start + 2, byte },
            _ => self.cut_or_none(start + number.digits),
        }
    }

    /// Returns the character that so many hexadecimal digits from `start` on stand for.
    fn code_escape(&self, start: usize, digits: usize) -> Escape {
        let number = self.number(start, 16, digits);
        if number.digits < digits {
            return self.cut_or_none(start + number.digits);
        }
        Escape::Code { length: start + digits, code: number.value }
    }

    /// Returns the character that hexadecimal digits in braces stand for, if a brace is at `start`.
    fn braced_escape(&self, start: usize) -> Option<Escape> {
        if self.byte(start) != Some(b'{') {
            return None;
        }
        let number = self.number(start + 1, 16, usize::MAX);
        let end = start + 1 + number.digits;
        Some(match self.byte(end) {
            Some(b'}') if number.digits > 0 => Escape::Code { length: end + 1, code: number.value },
            _ => self.cut_or_none(end),
        })
    }

    fn cut_or_none(&self, end: usize) -> Escape {
        if self.byte(end).is_none() { Escape::Cut } else { Escape::None }
    }

    /// Reads the digits from `start` on, at most `max_digits`.
    fn number(&self, start: usize, radix: u32, max_digits: usize) -> Number {
        let mut number = Number { value: 0, digits: 0 };
        while number.digits < max_digits
            && let Some(byte) = self.byte(start + number.digits)
            && let Some(digit) = char::from(byte).to_digit(radix)
        {
            number.value = number.value.saturating_mul(radix).saturating_add(digit);
            number.digits += 1;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped_until(text: &str, text_end: TextEnd) -> String {
        let unescaped = unescape(&EncodedText::new(text.as_bytes()), text_end).unwrap();
        String::from_utf8_lossy(unescaped.bytes()).into_owned()
    }

    fn unescaped(text: &str) -> String {
        unescaped_until(text, TextEnd::Whole)
    }

    #[test]
    fn every_escape_of_a_character_is_undone() {
        for escape in [
            r"\u0041",
            r"\u{41}",
            r"\u{000041}",
            r"\U00000041",
            r"\x41",
            r"\x{41}",
            r"\101",
            "%41",
            "%u0041",
            "&#65;",
            "&#00065;",
            "&#x41;",
            "&#X0041;",
            "&#65",
        ] {
            assert_eq!(unescaped(&format!("<{escape}>")), "<A>", "{escape}");
        }
        for (escaped, text) in [
            (r#"\"\/\n\t\\s"#, "\"/\n\t\\s"),
            (r"\ud83d\uDD11", "\u{1f511}"),
            (r"\u00f6%C3%B6\xc3\xb6\303\266&#246;", "\u{f6}\u{f6}\u{f6}\u{f6}\u{f6}"),
            ("&LT;&apos;&plus;&Hat;", "<'+^"),
            // What is no escape stays.
            (r"\s\u12 %4 %zz & &nope; &#; 100%", r"\s\u12 %4 %zz & &nope; &#; 100%"),
            (r"\u0000%u0000&#0;", r"\u0000%u0000&#0;"),
        ] {
            assert_eq!(unescaped(escaped), text, "{escaped}");
        }
    }

    #[test]
    fn an_escape_of_an_escape_is_undone_however_deep_it_is() {
        for escaped in [
            r"\\u0041",
            r"\\\\\\\\u0041",
            r"\u005cu0041",
            r"\u005c\u0075\u0030\u0030\u0034\u0031",
            r"\u005cu005cu005cu0041",
            "%252541",
            "%25252525252541",
            "&amp;#65;",
            "&amp;amp;amp;amp;#x41;",
            r"%5C%75%30%30%34%31",
            r"\u0025%34%31",
            r"&bsol;x41",
        ] {
            assert_eq!(unescaped(escaped), "A", "{escaped}");
        }
        assert_eq!(unescaped(r#"\\\\\\\\\"\\s"#), "\"\\s");
    }

    #[test]
    fn an_escape_at_a_cut_is_left_out() {
        for cut in ["\\", "\\u", "\\u004", "\\u{4", "\\x4", "%", "%4", "&", "&am", "&#", "&#00065"]
        {
            assert_eq!(unescaped_until(&format!("%41b{cut}"), TextEnd::Cut), "Ab", "{cut}");
        }
        assert_eq!(unescaped_until("%41 & b", TextEnd::Cut), "A & b");
    }

    #[test]
    fn decoded_bytes_know_where_their_escape_was() {
        let unescaped = unescape(&EncodedText::new(br"a%2541\\\/b"), TextEnd::Whole).unwrap();
        assert_eq!(unescaped.bytes(), b"aA/b");
        let starts: Vec<usize> = unescaped.spans().iter().map(|span| span.start).collect();
        let ends: Vec<usize> = unescaped.spans().iter().map(|span| span.end).collect();
        assert_eq!((starts, ends), (vec![0, 1, 6, 10], vec![1, 6, 10, 11]));
    }
}

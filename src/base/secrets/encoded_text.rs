//! A text as it reads once an encoding is undone, with the place of each of its bytes in the source.

use std::ops::Range;

/// Minimum number of bytes that are looked for within Base64 and hexadecimal digits.
pub(super) const MIN_DECODED_BYTES: usize = 5;

/// A text, and where its bytes come from in the text that is masked.
#[derive(Debug, Default)]
pub(super) struct EncodedText {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Set if the last byte comes from the end of the source.
    reaches_end: bool,
}

/// A part of the source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// An encoding of bytes as digits, each of which stands for a fixed number of bits.
#[derive(Debug, Clone, Copy)]
pub(super) enum DigitEncoding {
    /// Base64 in either alphabet (RFC 4648, 4 and 5), with line breaks or without.
    Base64,
    /// Pairs of hexadecimal digits.
    Hex,
}

/// A digit and its place.
#[derive(Debug, Clone, Copy)]
struct Digit {
    value: u16,
    span: Span,
}

impl Span {
    pub(super) fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

impl DigitEncoding {
    pub(super) const ALL: [Self; 2] = [Self::Base64, Self::Hex];

    fn bits(self) -> usize {
        match self {
            Self::Base64 => 6,
            Self::Hex => 4,
        }
    }

    /// Returns the numbers of digits after which a byte may begin in a run of digits.
    pub(super) fn alignments(self) -> Range<usize> {
        match self {
            Self::Base64 => 0..4,
            Self::Hex => 0..2,
        }
    }

    fn digit(self, byte: u8) -> Option<u16> {
        let digit = match self {
            Self::Base64 => match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            },
            Self::Hex => match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => return None,
            },
        };
        Some(digit.into())
    }
}

impl EncodedText {
    /// Returns a text as it is.
    pub(super) fn new(text: &[u8]) -> Self {
        let spans = (0..text.len()).map(|start| Span { start, end: start + 1 }).collect();
        Self { bytes: text.to_vec(), spans, reaches_end: true }
    }

    /// Returns a text of bytes with their places in the source.
    pub(super) fn from_parts(bytes: Vec<u8>, spans: Vec<Span>, reaches_end: bool) -> Self {
        Self { bytes, spans, reaches_end }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn reaches_end(&self) -> bool {
        self.reaches_end
    }

    /// Returns the part of the source that these bytes come from.
    pub(super) fn source_of(&self, bytes: Range<usize>) -> Option<Span> {
        let spans = self.spans.get(bytes)?;
        Some(spans.first()?.to(*spans.last()?))
    }

    /// Returns the bytes that all runs of digits stand for, if so many digits of each run come before
    /// its first byte. Between two runs there is a NUL, which no secret holds.
    pub(super) fn decode(&self, encoding: DigitEncoding, alignment: usize) -> Option<Self> {
        let mut decoded = Self::default();
        let mut run = Vec::new();
        for (byte, span) in self.bytes.iter().zip(&self.spans) {
            match (encoding.digit(*byte), byte) {
                (Some(value), _) => run.push(Digit { value, span: *span }),
                // The lines of Base64 are broken (RFC 2045).
                (None, b'\r' | b'\n') if !run.is_empty() => {}
                (None, _) => {
                    decoded.push_run(&run, encoding, alignment);
                    run.clear();
                }
            }
        }
        decoded.push_run(&run, encoding, alignment);
        decoded.reaches_end = self.reaches_end && !run.is_empty();
        (!decoded.bytes.is_empty()).then_some(decoded)
    }

    fn push_run(&mut self, run: &[Digit], encoding: DigitEncoding, alignment: usize) {
        let bits = encoding.bits();
        if run.len() * bits < MIN_DECODED_BYTES * 8 {
            return;
        }
        if let Some(last) = self.spans.last() {
            self.spans.push(*last);
            self.bytes.push(0);
        }
        let run = run.split_at(alignment).1;
        for index in 0..run.len() * bits / 8 {
            // A byte lies within two digits.
            let first_bit = index * 8;
            let Some([high, low]) = run.get(first_bit / bits..first_bit / bits + 2) else { return };
            let pair = (high.value << bits | low.value) >> (2 * bits - 8 - first_bit % bits);
            let [byte, _] = pair.to_le_bytes();
            self.bytes.push(byte);
            self.spans.push(high.span.to(low.span));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

    fn decoded(text: &str, encoding: DigitEncoding, alignment: usize) -> Vec<u8> {
        EncodedText::new(text.as_bytes()).decode(encoding, alignment).unwrap_or_default().bytes
    }

    #[test]
    fn runs_of_digits_are_decoded_at_each_alignment() {
        let bytes: Vec<u8> = (0..=255).collect();
        for text in [BASE64.encode(&bytes), BASE64URL_NOPAD.encode(&bytes)] {
            assert_eq!(decoded(&text, DigitEncoding::Base64, 0), bytes);
            for before in 1..4 {
                let text = format!("{}{text}", "x".repeat(before));
                assert_eq!(decoded(&text, DigitEncoding::Base64, before), bytes);
            }
        }
        for text in [HEXLOWER.encode(&bytes), HEXUPPER.encode(&bytes)] {
            assert_eq!(decoded(&text, DigitEncoding::Hex, 0), bytes);
            assert_eq!(decoded(&format!("0{text}"), DigitEncoding::Hex, 1), bytes);
        }
    }

    #[test]
    fn decoded_bytes_know_where_they_come_from() {
        let text = "a b: Zm9v\r\nYmFy, c29tZXRoaW5n";
        let decoded = EncodedText::new(text.as_bytes()).decode(DigitEncoding::Base64, 0).unwrap();
        assert_eq!(decoded.bytes, b"foobar\0something");
        assert!(decoded.reaches_end);
        let source =
            |range| decoded.source_of(range).map(|span| text.get(span.start..span.end).unwrap());
        assert_eq!(source(0..3), Some("Zm9v"));
        assert_eq!(source(2..4), Some("9v\r\nYm"));
        assert_eq!(source(7..16), Some("c29tZXRoaW5n"));
        assert!(
            !EncodedText::new(b"c29tZXRoaW5n.")
                .decode(DigitEncoding::Base64, 0)
                .unwrap()
                .reaches_end
        );
        assert!(EncodedText::new(b"short text").decode(DigitEncoding::Base64, 0).is_none());
    }
}

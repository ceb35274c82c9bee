//! Decoding of gzip (RFC 1952): several members in a row, and zeros behind the last one.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// A reader that decodes gzip.
///
/// Members that follow one another are decoded as one. Zeros behind a member, with which some programs
/// fill a block, are ignored as gzip ignores them; anything else there is an error.
pub(crate) struct GzipReader<R> {
    /// `None` at the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipReader<R> {
    pub(crate) fn new(compressed: R) -> Self {
        Self { member: Some(GzDecoder::new(compressed)) }
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(member) = self.member.take() else { break };
            let mut rest = member.into_inner();
            if !is_at_end(&mut rest)? {
                self.member = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Skips zeros. Returns whether nothing follows them.
fn is_at_end(rest: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let available = rest.fill_buf()?;
        let length = available.len();
        let zeros = available.iter().take_while(|byte| **byte == 0).count();
        rest.consume(zeros);
        if zeros < length || length == 0 {
            return Ok(length == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(text, flate2::Compression::fast());
        encoder.read_to_end(&mut packed).unwrap();
        packed
    }

    #[test]
    fn members_and_zeros_are_read_and_nothing_else() {
        let [one, two] = [b"one\n", b"two\n"].map(|text| gzip(text));
        for (parts, text) in [
            (vec![&one[..]], Some("one\n")),
            (vec![&one, &two], Some("one\ntwo\n")),
            (vec![&one, &[0; 9]], Some("one\n")),
            (vec![&one, &[0; 9], &two, &[0; 600]], Some("one\ntwo\n")),
            (vec![&one, b"rest"], None),
            (vec![&one, &[0], b"rest"], None),
            (vec![&one, &two[..9]], None),
        ] {
            let packed = parts.concat();
            let mut read = String::new();
            // Blocks end anywhere.
            let blocks = io::BufReader::with_capacity(3, packed.as_slice());
            let result = GzipReader::new(blocks).read_to_string(&mut read);
            assert_eq!(result.ok().map(|_| read.as_str()), text, "{parts:?}");
        }
    }
}

//! The search for secrets in a text, however they are encoded there.

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::encoded_text::{DigitEncoding, EncodedText, MIN_DECODED_BYTES, Span};
use super::text_end::TextEnd;
use super::unescaper::unescape;

/// Minimum number of characters of a secret. Less would mask half of every text.
const MIN_LENGTH: usize = 3;
/// Minimum number of characters of a secret that is masked within words, too.
const MIN_WITHIN_WORDS: usize = 4;
/// Minimum number of bytes at the end of a cut text that count as the beginning of a secret.
const MIN_CUT: usize = 4;
/// Number of times that a text within Base64 or within hexadecimal digits is looked into.
const MAX_DEPTH: usize = 3;

/// Finds all of a set of secrets at once. The work is linear in the length of the text, whatever the
/// text is.
pub(super) struct SecretFinder {
    patterns: Vec<Pattern>,
    /// `None` if there are too many secrets to search for.
    searcher: Option<AhoCorasick>,
}

/// A text that a secret looks like in a decoded text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    folded: Vec<u8>,
    /// Set if it is too short to be masked within a word.
    is_word: bool,
}

impl SecretFinder {
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut patterns: Vec<Pattern> = secrets.flat_map(Pattern::all_of).collect();
        patterns.sort_unstable();
        patterns.dedup();
        let folded = patterns.iter().map(|pattern| pattern.folded.as_slice());
        let searcher =
            AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(folded).ok();
        Self { patterns, searcher }
    }

    /// Returns where the text has secrets, in no order. They may overlap.
    pub(super) fn find(&self, text: &str, text_end: TextEnd) -> Vec<Span> {
        let mut found = Vec::new();
        if self.searcher.is_none() {
            found.push(Span { start: 0, end: text.len() });
        } else if !self.patterns.is_empty() {
            let text = EncodedText::new(text.as_bytes());
            self.search(&text, text_end, 0, &mut found);
        }
        found
    }

    /// Searches a text at this depth of encodings, and what it encodes.
    fn search(&self, text: &EncodedText, text_end: TextEnd, depth: usize, found: &mut Vec<Span>) {
        let unescaped = unescape(text, text_end);
        for text in [Some(text), unescaped.as_ref()].into_iter().flatten() {
            self.match_patterns(text, text_end, depth, found);
            if depth == MAX_DEPTH {
                continue;
            }
            for encoding in DigitEncoding::ALL {
                for alignment in encoding.alignments() {
                    if let Some(inner) = text.decode(encoding, alignment) {
                        self.search(&inner, text_end, depth + 1, found);
                    }
                }
            }
        }
    }

    fn match_patterns(
        &self,
        text: &EncodedText,
        text_end: TextEnd,
        depth: usize,
        found: &mut Vec<Span>,
    ) {
        let Some(searcher) = &self.searcher else { return };
        let folded = fold(text.bytes());
        let is_word_at = |index: Option<usize>| {
            let byte = index.and_then(|index| folded.get(index));
            byte.is_some_and(u8::is_ascii_alphanumeric)
        };
        let is_sought = |pattern: &Pattern| depth == 0 || pattern.folded.len() >= MIN_DECODED_BYTES;
        for matched in searcher.find_overlapping_iter(&folded) {
            let Some(pattern) = self.patterns.get(matched.pattern().as_usize()) else { continue };
            let is_within_word = pattern.is_word
                && (is_word_at(matched.start().checked_sub(1)) || is_word_at(Some(matched.end())));
            if is_sought(pattern) && !is_within_word {
                found.extend(text.source_of(matched.range()));
            }
        }
        if text_end == TextEnd::Cut && text.reaches_end() {
            let patterns = self.patterns.iter().filter(|pattern| is_sought(pattern));
            let longest = patterns.filter_map(|pattern| pattern.cut_length(&folded)).max();
            let start = longest.and_then(|length| folded.len().checked_sub(length));
            let source = start.and_then(|start| text.source_of(start..folded.len()));
            found.extend(source.map(|source| Span { end: usize::MAX, ..source }));
        }
    }
}

impl Pattern {
    /// Returns what a secret looks like: as it is, in capitals, in small letters, and in Latin-1, each
    /// also without the escapes that it may hold itself. A secret that is too short looks like nothing.
    fn all_of(secret: &str) -> Vec<Self> {
        let latin1: Option<Vec<u8>> =
            secret.chars().map(|character| u8::try_from(character).ok()).collect();
        let mut forms = vec![secret.as_bytes().to_vec()];
        if !secret.is_ascii() {
            forms.push(secret.to_uppercase().into_bytes());
            forms.push(secret.to_lowercase().into_bytes());
            forms.extend(latin1);
        }
        let unescaped = forms.iter().filter_map(|form| {
            let unescaped = unescape(&EncodedText::new(form), TextEnd::Whole)?;
            // A backslash at its edge may be taken for that of an escape around it.
            Some(trim_backslashes(unescaped.bytes()).to_vec())
        });
        let unescaped: Vec<Vec<u8>> = unescaped.collect();
        forms.iter().chain(&unescaped).filter_map(|form| Self::new(form)).collect()
    }

    fn new(text: &[u8]) -> Option<Self> {
        let length = String::from_utf8_lossy(text).chars().count();
        let is_blank = text.trim_ascii().len() < MIN_LENGTH;
        let is_word = length < MIN_WITHIN_WORDS;
        (length >= MIN_LENGTH && !is_blank).then(|| Self { folded: fold(text), is_word })
    }

    /// Returns the length of the longest beginning of the secret that the text ends with.
    fn cut_length(&self, text: &[u8]) -> Option<usize> {
        let longest = self.folded.len().saturating_sub(1).min(text.len());
        let is_end = |length: &usize| text.ends_with(self.folded.split_at(*length).0);
        (MIN_CUT..=longest).rev().find(is_end).filter(|_| !self.is_word)
    }
}

fn trim_backslashes(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [b'\\', rest @ ..] | [rest @ .., b'\\'] = text {
        text = rest;
    }
    text
}

/// Returns a text in which what a server may change is equal: capitals, such as those of a host or of
/// hexadecimal digits, and the `+` that stands for a space in a form.
fn fold(text: &[u8]) -> Vec<u8> {
    let fold = |byte: &u8| if *byte == b'+' { b' ' } else { byte.to_ascii_lowercase() };
    text.iter().map(fold).collect()
}

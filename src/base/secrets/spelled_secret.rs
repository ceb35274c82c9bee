//! A secret that is recognized however it is encoded.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};

/// Minimum number of characters of a secret. Less would mask half of every text.
const MIN_LENGTH: usize = 3;
/// Minimum number of characters of a secret that is masked within words, too.
const MIN_WITHIN_WORDS: usize = 4;
/// Minimum number of bytes of a secret that is looked for within Base64.
const MIN_IN_BASE64: usize = 5;
/// Minimum number of characters at the end of a cut text that count as the beginning of a secret.
const MIN_CUT: usize = 4;

/// One spelling of a secret, or all that escape single characters of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SpelledSecret {
    text: Vec<char>,
    case: LetterCase,
    /// Set if the secret is too short to be masked within a word.
    is_word: bool,
}

/// The meaning of capitals in a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LetterCase {
    /// A server may change them, such as those of a host or of hexadecimal digits.
    Ignored,
    Kept,
}

impl SpelledSecret {
    /// Returns the spellings of a secret: itself, and as it appears within Base64. A secret that is too
    /// short has none.
    pub(super) fn all_of(value: &str) -> Vec<Self> {
        let text: Vec<char> = value.trim().chars().collect();
        if text.len() < MIN_LENGTH {
            return Vec::new();
        }
        let is_word = text.len() < MIN_WITHIN_WORDS;
        let mut all = vec![Self { text, case: LetterCase::Ignored, is_word }];
        let value = value.trim().as_bytes();
        if value.len() >= MIN_IN_BASE64 {
            for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
                for bytes_before in 0..3 {
                    let text = within_base64(value, bytes_before, &encoding);
                    all.push(Self { text, case: LetterCase::Kept, is_word: false });
                }
            }
        }
        all
    }

    /// Returns the number of characters.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the end of the secret if the text has it at `start`.
    pub(super) fn match_at(&self, text: &str, start: usize) -> Option<usize> {
        self.match_chars(text, start).filter(|matched| matched.is_complete).map(|m| m.end)
    }

    /// Returns the end of the secret if the text has it at `start`, or has its beginning there and
    /// ends within it.
    pub(super) fn match_cut_at(&self, text: &str, start: usize) -> Option<usize> {
        self.match_chars(text, start).map(|matched| matched.end)
    }

    fn match_chars(&self, text: &str, start: usize) -> Option<Match> {
        if !may_begin(text.get(start..)?, *self.text.first()?) {
            return None;
        }
        let is_word_char = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if self.is_word && is_word_char(text.get(..start)?.chars().next_back()) {
            return None;
        }
        let mut ends = vec![start];
        for (index, wanted) in self.text.iter().enumerate() {
            let mut next = Vec::new();
            for end in &ends {
                let rest = text.get(*end..).unwrap_or_default();
                spellings_of(rest, *wanted, self.case, &mut |length| {
                    let end = *end + length;
                    if !next.contains(&end) {
                        next.push(end);
                    }
                });
            }
            if next.is_empty() {
                let mut rests = ends.iter().filter_map(|end| text.get(*end..));
                let is_cut = index >= MIN_CUT && !self.is_word && rests.any(is_cut_spelling);
                return is_cut.then_some(Match { end: text.len(), is_complete: false });
            }
            ends = next;
        }
        let end = ends.into_iter().max()?;
        let ends_word = !self.is_word || !is_word_char(text.get(end..)?.chars().next());
        ends_word.then_some(Match { end, is_complete: true })
    }
}

/// The place of a secret in a text.
struct Match {
    end: usize,
    /// Not set if the text ends within the secret.
    is_complete: bool,
}

/// Returns whether a text ends, or ends within an escape sequence.
fn is_cut_spelling(rest: &str) -> bool {
    match rest.chars().next() {
        None => true,
        Some('%' | '\\' | '&') => rest.len() < 6 && !rest.contains([' ', '"', ';']),
        Some(_) => false,
    }
}

/// Returns whether a text may begin with a spelling of `wanted`.
fn may_begin(rest: &str, wanted: char) -> bool {
    rest.starts_with(|c: char| c.eq_ignore_ascii_case(&wanted) || "\\%&+".contains(c))
}

/// Reports the length of each spelling of `wanted` with which the text begins.
fn spellings_of(rest: &str, wanted: char, case: LetterCase, report: &mut dyn FnMut(usize)) {
    let Some(first) = rest.chars().next() else { return };
    let is_equal = match case {
        LetterCase::Ignored => first.eq_ignore_ascii_case(&wanted),
        LetterCase::Kept => first == wanted,
    };
    if is_equal {
        report(first.len_utf8());
    }
    match first {
        '\\' => json_spellings(rest, wanted, report),
        '%' => {
            if let Some(length) = percent_spelling(rest, wanted) {
                report(length);
            }
        }
        '&' => {
            if let Some(length) = html_spelling(rest, wanted) {
                report(length);
            }
        }
        '+' if wanted == ' ' => report(1),
        _ => {}
    }
}

/// Reports the spellings that begin with backslashes, of which a text within a text has several.
fn json_spellings(rest: &str, wanted: char, report: &mut dyn FnMut(usize)) {
    let after = rest.trim_start_matches('\\');
    let backslashes = rest.len() - after.len();
    if wanted == '\\' {
        // One was reported as the character itself.
        for count in 2..=backslashes {
            report(count);
        }
        return;
    }
    let Some(escape) = after.chars().next() else { return };
    let escaped = match escape {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        other => other,
    };
    if escaped == wanted && !wanted.is_alphanumeric() {
        report(backslashes + escape.len_utf8());
    }
    if escape != 'u' {
        return;
    }
    let digits = after.get(1..).unwrap_or_default();
    // As Rust writes it.
    if let Some((code, _)) = digits.strip_prefix('{').and_then(|inner| inner.split_once('}'))
        && u32::from_str_radix(code, 16) == Ok(wanted.into())
    {
        report(backslashes + 1 + code.len() + 2);
    }
    let mut length = backslashes;
    let mut rest = after;
    for unit in wanted.encode_utf16(&mut [0; 2]) {
        let unescaped = rest.strip_prefix('u').and_then(|digits| digits.get(..4));
        if unescaped.is_none_or(|digits| u16::from_str_radix(digits, 16) != Ok(*unit)) {
            return;
        }
        length += 5;
        rest = rest.get(5..).unwrap_or_default();
        let after = rest.trim_start_matches('\\');
        if *unit & 0xFC00 == 0xD800 {
            length += rest.len() - after.len();
            rest = after;
        }
    }
    report(length);
}

/// Returns the length of a percent-encoded character, which may be encoded several times.
fn percent_spelling(rest: &str, wanted: char) -> Option<usize> {
    let mut position = 0;
    for byte in wanted.encode_utf8(&mut [0; 4]).bytes() {
        let mut code = rest.get(position..)?.strip_prefix('%')?;
        while let Some(inner) = code.strip_prefix("25").filter(|inner| starts_with_hex(inner)) {
            code = inner;
        }
        if u8::from_str_radix(code.get(..2)?, 16) != Ok(byte) {
            return None;
        }
        position = rest.len() - code.len() + 2;
    }
    Some(position)
}

fn starts_with_hex(text: &str) -> bool {
    text.bytes().take_while(u8::is_ascii_hexdigit).take(2).count() == 2
}

/// Returns the length of a character reference of HTML.
fn html_spelling(rest: &str, wanted: char) -> Option<usize> {
    let (name, _) = rest.get(1..)?.split_once(';')?;
    let found = match name.to_ascii_lowercase().as_str() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        name => {
            let code = name.strip_prefix('#')?;
            let code = match code.strip_prefix('x') {
                Some(code) => u32::from_str_radix(code, 16),
                None => code.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    (found == wanted).then_some(name.len() + 2)
}

/// Returns the characters that a value determines within Base64 if so many bytes, modulo 3, stand
/// before it.
fn within_base64(
    value: &[u8],
    bytes_before: usize,
    encoding: &data_encoding::Encoding,
) -> Vec<char> {
    let mut bytes = vec![0; bytes_before];
    bytes.extend_from_slice(value);
    // The last character may depend on what follows.
    let complete = bytes.len() * 8 / 6;
    let encoded = encoding.encode(&bytes);
    let first = (bytes_before * 8).div_ceil(6);
    encoded.chars().take(complete).skip(first).collect()
}

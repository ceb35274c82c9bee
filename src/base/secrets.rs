//! The secrets of a recording, which must not be shown.

mod encoded_text;
mod secret_finder;
mod text_end;
mod unescaper;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::encoded_text::Span;
use self::secret_finder::SecretFinder;
use self::text_end::TextEnd;

/// The text that is shown instead of a secret.
const MASK: &str = "***";
/// Number of secrets of the moment that are kept, such as tokens that a server gave.
const MAX_RECENT: usize = 64;

/// The secrets of a recording: the values that the configuration takes from `${NAME}`, those that it
/// holds literally, and those that servers gave. All clones are one set.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<RwLock<SecretSet>>);

#[derive(Default)]
struct SecretSet {
    lasting: HashSet<String>,
    /// The oldest first.
    recent: VecDeque<String>,
    /// Finds both. `None` if there are none.
    finder: Option<Arc<SecretFinder>>,
}

impl Secrets {
    /// Creates a set of secrets.
    pub(crate) fn new(values: impl IntoIterator<Item = String>) -> Self {
        let secrets = Self::default();
        secrets.add(values);
        secrets
    }

    /// Adds secrets that last as long as the recording. Empty ones are none.
    pub(crate) fn add(&self, values: impl IntoIterator<Item = String>) {
        let mut set = self.write();
        let known = set.lasting.len();
        set.lasting.extend(values.into_iter().filter_map(trimmed));
        if set.lasting.len() > known {
            set.renew_finder();
        }
    }

    /// Adds all secrets of another set.
    pub(crate) fn add_all(&self, other: &Self) {
        let added: Vec<String> = other.read().lasting.iter().cloned().collect();
        self.add(added);
    }

    /// Adds secrets that are replaced by others later, such as the token of a connection.
    pub(crate) fn add_recent(&self, values: impl IntoIterator<Item = String>) {
        let mut set = self.write();
        let mut is_changed = false;
        for secret in values.into_iter().filter_map(trimmed) {
            if !set.lasting.contains(&secret) && !set.recent.contains(&secret) {
                set.recent.push_back(secret);
                is_changed = true;
            }
        }
        while set.recent.len() > MAX_RECENT {
            set.recent.pop_front();
        }
        if is_changed {
            set.renew_finder();
        }
    }

    /// Returns the text with every secret replaced by `***`, however it is encoded: escaped for JSON,
    /// a program, HTML or a URL, once or several times, or within Base64 or hexadecimal digits.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.mask_until_end(text, TextEnd::Whole)
    }

    /// Masks a text that may have been cut: the beginning of a secret at its end is masked, too.
    pub(crate) fn mask_cut(&self, text: &str) -> String {
        self.mask_until_end(text, TextEnd::Cut)
    }

    fn mask_until_end(&self, text: &str, text_end: TextEnd) -> String {
        let finder = self.read().finder.clone();
        let mut found = finder.map(|finder| finder.find(text, text_end)).unwrap_or_default();
        found.sort_unstable_by_key(|secret| secret.start);
        let mut masked = String::with_capacity(text.len());
        let mut shown_until = 0;
        for Span { start, end } in found {
            let start = char_boundary_before(text, start);
            let end = char_boundary_after(text, end);
            if start >= shown_until {
                masked.push_str(text.get(shown_until..start).unwrap_or_default());
                masked.push_str(MASK);
            }
            shown_until = shown_until.max(end);
        }
        masked.push_str(text.get(shown_until..).unwrap_or_default());
        masked
    }

    fn read(&self) -> RwLockReadGuard<'_, SecretSet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, SecretSet> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SecretSet {
    fn renew_finder(&mut self) {
        let all = self.lasting.iter().chain(&self.recent).map(String::as_str);
        self.finder = Some(Arc::new(SecretFinder::new(all)));
    }
}

/// Does not write the secrets.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Returns the start of the character that the byte at the index belongs to.
fn char_boundary_before(text: &str, index: usize) -> usize {
    let mut boundaries = (0..=index.min(text.len())).rev();
    boundaries.find(|index| text.is_char_boundary(*index)).unwrap_or_default()
}

/// Returns the end of the character that the byte before the index belongs to.
fn char_boundary_after(text: &str, index: usize) -> usize {
    (index..text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len())
}

/// Returns a secret without the white space around it, unless nothing is left.
fn trimmed(value: String) -> Option<String> {
    match value.trim() {
        "" => None,
        text if text.len() == value.len() => Some(value),
        text => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        Secrets::new(values.iter().map(ToString::to_string))
    }

    #[test]
    fn a_secret_that_contains_another_is_masked_entirely() {
        let secrets = secrets(&["key-1", "", "key-1-2"]);
        assert_eq!(secrets.mask("a key-1-2 and a key-1"), "a *** and a ***");
    }

    #[test]
    fn a_secret_is_masked_in_every_spelling() {
        let secrets = secrets(&["p\"a/s\\s w\u{f6}rd+%&<'\u{1f511}x"]);
        for spelling in [
            "p\"a/s\\s w\u{f6}rd+%&<'\u{1f511}x",
            r#"p\"a\/s\\s w\u00f6rd+%&<'\ud83d\uDD11x"#,
            r"p\u0022a/s\\s w\u00F6rd+%\u0026\u003c\u0027\ud83d\udd11x",
            r#"p\\\"a/s\\\\s w\\u00f6rd+%&<'\\ud83d\\udd11x"#,
            r"p\u005c\u0022a/s\u005c\u005cs w\u005cu00f6rd+%&<'\u005cud83d\u005cudd11x",
            "p\\\"a/s\\\\s w\\u{f6}rd+%&<'\u{1f511}x",
            r"\u0070\u0022\u0061\u002f\u0073\u005c\u0073\u0020\u0077\u00f6\u0072\u0064\u002b\u0025\u0026\u003c\u0027\ud83d\udd11\u0078",
            r"p\x22a\x2fs\x5cs\x20w\xc3\xb6rd\x2b\x25\x26\x3c\x27\xf0\x9f\x94\x91x",
            r"p\042a\057s\134s\040w\303\266rd\053\045\046\074\047\360\237\224\221x",
            r"p\42a\57s\134s\40w\303\266rd\53\45\46\74\47\360\237\224\221x",
            "p%22a%2Fs%5Cs%20w%C3%B6rd%2B%25%26%3C%27%F0%9F%94%91x",
            "p%22a%2fs%5cs+w%c3%b6rd%2b%25%26%3c%27%f0%9f%94%91x",
            "p%2522a%252Fs%255Cs%2520w%25C3%25B6rd%252B%2525%2526%253C%2527%25F0%259F%2594%2591x",
            "%70%22%61%2f%73%5c%73%20%77%c3%b6%72%64%2b%25%26%3c%27%f0%9f%94%91%78",
            "p&quot;a/s\\s w\u{f6}rd+%&amp;&lt;&#39;\u{1f511}x",
            "p&#34;a&#x2F;s\\s w&#246;rd+%&#38;&LT;&apos;&#x1F511;x",
            "p&amp;quot;a/s\\s w&amp;#246;rd+%&amp;amp;&amp;lt;&amp;#39;&amp;#128273;x",
            r"p\u0026quot;a/s\\s w\u00f6rd+%\u0026amp;\u0026lt;\u0026#39;\ud83d\udd11x",
            "P\"A/S\\S W\u{f6}RD+%&<'\u{1f511}X",
        ] {
            assert_eq!(secrets.mask(&format!("<{spelling}>")), "<***>", "{spelling}");
        }
    }

    #[test]
    fn a_secret_that_looks_escaped_is_masked_as_it_is_and_in_other_spellings() {
        for secret in
            [r"\\begins", r"ends\n\", r"a\u0041b", "a%41b%", "&amp;x&#65;", "l\u{f6}w+ x%41"]
        {
            let mask = |text: &str| secrets(&[secret]).mask(text);
            let json = serde_json::to_string(secret).unwrap();
            let json_in_json = serde_json::to_string(&json).unwrap();
            let percent = secret.bytes().map(|byte| format!("%{byte:02x}"));
            let percent = percent.collect::<Vec<_>>().concat();
            let latin1 = secret.chars().map(|c| format!("\\x{:02x}", u32::from(c)));
            let latin1 = latin1.collect::<Vec<_>>().concat();
            let upper = secret.to_uppercase();
            for text in [secret, &json, &json_in_json, &percent, &latin1, &upper] {
                let masked = mask(&format!("<{text}>"));
                assert!(masked.contains("***"), "{text}: {masked}");
                // A backslash at an edge of the secret may be left.
                let shown = masked.replace("%5c", "").replace("\\x5c", "");
                let shown = shown.replace(['<', '>', '"', '\\'], "");
                assert_eq!(shown, "***", "{text}: {masked}");
            }
        }
    }

    #[test]
    fn a_secret_within_base64_or_hexadecimal_digits_is_masked() {
        use data_encoding::{BASE64, BASE64_MIME, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
        let secrets = secrets(&["s3cret-?>value"]);
        let hidden = |text: &str, source: &str| {
            let masked = secrets.mask(&format!("Basic {text}."));
            assert!(masked.contains("***"), "{source}: {text}: {masked}");
            // What is left of the text around the secret.
            assert!(masked.len() < 6 + 1 + 3 + 40, "{source}: {text}: {masked}");
        };
        for around in ["", "u", "us", "use", "user:"] {
            for after in ["", "1", "12", "123", "1234", "12345"] {
                let source = format!("{around}s3cret-?>value{after}");
                let once = [
                    BASE64.encode(source.as_bytes()),
                    BASE64URL_NOPAD.encode(source.as_bytes()),
                    HEXLOWER.encode(source.as_bytes()),
                    HEXUPPER.encode(source.as_bytes()),
                ];
                for text in once {
                    hidden(&text, &source);
                    hidden(&text.replace('/', "\\/"), &source);
                    hidden(&text.replace('/', "%2F").replace('=', "%3D"), &source);
                    hidden(&BASE64_MIME.encode(text.as_bytes()), &source);
                    for before in ["", "x", "xy"] {
                        let twice = format!("{before}{text}");
                        hidden(&BASE64.encode(twice.as_bytes()), &source);
                        hidden(&BASE64URL_NOPAD.encode(twice.as_bytes()), &source);
                        let thrice = BASE64.encode(BASE64.encode(twice.as_bytes()).as_bytes());
                        assert!(secrets.mask(&thrice).contains("***"), "{thrice}");
                    }
                }
                let json = serde_json::json!({ "k\u{f6}y": source }).to_string();
                let encoded = BASE64.encode(json.as_bytes());
                assert!(secrets.mask(&encoded).contains("***"), "{encoded}");
            }
        }
    }

    #[test]
    fn a_long_text_that_looks_like_escapes_is_masked_with_linear_work() {
        // Work that grows with the square of the length would take hours with the first ones.
        let secrets = secrets(&["\\secret", "%25%25%25", "&#00;&#00", "aaaaaaaa", "VVVVVVVV"]);
        for piece in [
            "\\", "%", "&", "%25", "%2525%", "&#0", "&#x0", "&amp;", "&a", "&#", "\\u", "\\u{0",
            "\\u005c", "\\u005cu", "\\x5c", "\\x5cx", "\\134", "\\\\u{", "%5C", "%5Cu{", "&#92;",
            "0", "a", "A=", "VV\n", "\\n", "\\ud83d", "\\udd11", "&bsol;", "%u005c",
        ] {
            for begin in ["", "\\u{", "&#", "%", "&"] {
                let is_long =
                    begin.is_empty() && ["\\", "%25", "&amp;", "&#0", "0"].contains(&piece);
                let length: usize = if is_long { 1 << 18 } else { 1 << 13 };
                let text = format!("{begin}{}.", piece.repeat(length / piece.len()));
                assert!(secrets.mask(&text).len() <= text.len(), "{piece}");
                assert!(secrets.mask_cut(&text).len() <= text.len(), "{piece}");
            }
        }
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_is_masked() {
        let secrets = secrets(&["s3cret-value"]);
        assert_eq!(secrets.mask_cut("invalid key s3cre"), "invalid key ***");
        assert_eq!(secrets.mask_cut("invalid key s3cret%2"), "invalid key ***");
        assert_eq!(secrets.mask_cut("invalid key s3c"), "invalid key s3c");
        assert_eq!(secrets.mask("invalid key s3cre"), "invalid key s3cre");
    }

    #[test]
    fn a_short_secret_is_masked_only_as_a_word() {
        let secrets = secrets(&["a", "cd", "xyz", "abcd"]);
        assert_eq!(secrets.mask("a cd, xyz xyzzy abcdef"), "a cd, *** xyzzy ***ef");
    }

    #[test]
    fn clones_share_their_secrets_and_recent_ones_are_bounded() {
        let secrets = Secrets::default();
        let clone = secrets.clone();
        clone.add(["first-secret".to_owned()]);
        assert_eq!(secrets.mask("first-secret"), "***");
        for number in 0..1000 {
            clone.add_recent([format!("token-{number:04}")]);
        }
        assert_eq!(secrets.mask("token-0999 first-secret"), "*** ***");
        assert!(secrets.0.read().unwrap().recent.len() <= MAX_RECENT);
        assert_eq!(format!("{secrets:?}"), "Secrets");
    }
}

//! The secrets of a recording, which must not be shown.

mod spelled_secret;

use std::sync::{Arc, PoisonError, RwLock};

use self::spelled_secret::SpelledSecret;

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
    lasting: Vec<SpelledSecret>,
    /// The oldest first.
    recent: Vec<SpelledSecret>,
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
        let mut set = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let values = distinct(values).into_iter().flat_map(|value| SpelledSecret::all_of(&value));
        let mut lasting = std::mem::take(&mut set.lasting);
        lasting.extend(values);
        // The longest first, so that a secret that contains another is masked entirely.
        lasting.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        lasting.dedup();
        set.lasting = lasting;
    }

    /// Adds all secrets of another set.
    pub(crate) fn add_all(&self, other: &Self) {
        let added = other.0.read().unwrap_or_else(PoisonError::into_inner).lasting.clone();
        let mut set = self.0.write().unwrap_or_else(PoisonError::into_inner);
        set.lasting.extend(added);
        set.lasting.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        set.lasting.dedup();
    }

    /// Adds secrets that are replaced by others later, such as the token of a connection.
    pub(crate) fn add_recent(&self, values: impl IntoIterator<Item = String>) {
        let mut set = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for secret in distinct(values).into_iter().flat_map(|value| SpelledSecret::all_of(&value)) {
            if !set.lasting.contains(&secret) && !set.recent.contains(&secret) {
                set.recent.push(secret);
            }
        }
        let excess = set.recent.len().saturating_sub(MAX_RECENT);
        set.recent.drain(..excess);
    }

    /// Returns the text with every secret replaced by `***`, however it is encoded: escaped for JSON,
    /// HTML or a URL, or within Base64.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.mask_until_end(text, TextEnd::Whole)
    }

    /// Masks a text that may have been cut: the beginning of a secret at its end is masked, too.
    pub(crate) fn mask_cut(&self, text: &str) -> String {
        self.mask_until_end(text, TextEnd::Cut)
    }

    fn mask_until_end(&self, text: &str, text_end: TextEnd) -> String {
        let set = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if set.lasting.is_empty() && set.recent.is_empty() {
            return text.to_owned();
        }
        let mut masked = String::with_capacity(text.len());
        let mut position = 0;
        while let Some(next) = text.get(position..).and_then(|rest| rest.chars().next()) {
            let secrets = set.recent.iter().chain(&set.lasting);
            let end = secrets.filter_map(|secret| match text_end {
                TextEnd::Whole => secret.match_at(text, position),
                TextEnd::Cut => secret.match_cut_at(text, position),
            });
            if let Some(end) = end.max() {
                masked.push_str(MASK);
                position = end;
            } else {
                masked.push(next);
                position += next.len_utf8();
            }
        }
        masked
    }
}

/// Does not write the secrets.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// The certainty that a text ends where its author ended it.
#[derive(Clone, Copy)]
enum TextEnd {
    Whole,
    Cut,
}

/// Returns the values without repetitions and without those that are empty: many topics may have the
/// same variable.
fn distinct(values: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut values: Vec<_> = values.into_iter().filter(|value| !value.trim().is_empty()).collect();
    values.sort_unstable();
    values.dedup();
    values
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
            "p\\\"a/s\\\\s w\\u{f6}rd+%&<'\u{1f511}x",
            "p%22a%2Fs%5Cs%20w%C3%B6rd%2B%25%26%3C%27%F0%9F%94%91x",
            "p%22a/s%5cs+w%c3%b6rd%2b%25%26%3c%27%f0%9f%94%91x",
            "p%2522a%252Fs%255Cs%2520w%25C3%25B6rd%252B%2525%2526%253C%2527%25F0%259F%2594%2591x",
            "p&quot;a/s\\s w\u{f6}rd+%&amp;&lt;&#39;\u{1f511}x",
            "p&#34;a&#x2F;s\\s w&#246;rd+%&#38;&LT;&apos;&#x1F511;x",
            "P\"A/S\\S W\u{f6}RD+%&<'\u{1f511}X",
        ] {
            assert_eq!(secrets.mask(&format!("<{spelling}>")), "<***>", "{spelling}");
        }
    }

    #[test]
    fn a_secret_within_base64_is_masked() {
        use data_encoding::{BASE64, BASE64URL_NOPAD};
        let secrets = secrets(&["s3cret-?>value"]);
        for around in ["", "u", "us", "use", "user:"] {
            for after in ["", "1", "12", "123"] {
                let text = format!("{around}s3cret-?>value{after}");
                for encoded in
                    [BASE64.encode(text.as_bytes()), BASE64URL_NOPAD.encode(text.as_bytes())]
                {
                    let masked = secrets.mask(&format!("Basic {encoded}."));
                    assert!(masked.contains("***"), "{text}: {masked}");
                    assert!(masked.len() < 6 + 1 + 3 + 8 + 8, "{text}: {masked}");
                }
                let json = BASE64.encode(text.as_bytes()).replace('/', "\\/");
                assert!(secrets.mask(&json).contains("***"), "{json}");
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

//! Quotes of what a server sent, for logs and errors.

use crate::base::secrets::Secrets;
use crate::base::shown_text::shorten;

/// Maximum length in bytes of a quote whose secrets are not masked yet. A secret that is cut here is
/// far behind the end of what is shown.
const MAX_RAW_BYTES: usize = 8 << 10;

/// Returns the beginning of a text that a server sent, without surrounding white space. It is much
/// longer than what is shown, so that [`mask_and_shorten`] sees secrets as a whole.
pub(super) fn quote(text: &[u8]) -> String {
    let text = text.trim_ascii();
    let is_continuation = |end: usize| text.get(end).is_some_and(|byte| byte & 0xC0 == 0x80);
    let mut end = text.len().min(MAX_RAW_BYTES);
    while end > 0 && is_continuation(end) {
        end -= 1;
    }
    String::from_utf8_lossy(text.split_at(end).0).into_owned()
}

/// Returns a text that may quote a server as it may be shown: masked first, then cut.
pub(super) fn mask_and_shorten(text: &str, secrets: &Secrets) -> String {
    shorten(&secrets.mask_cut(text)).to_owned()
}

/// Returns a URL that a server gave, without what may hold a secret: the user, the query and the
/// fragment.
pub(super) fn shown_url(url: &str) -> String {
    let shown = url.trim().split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match shown.find("//") {
        Some(slashes) => shown.split_at(slashes + 2),
        None => ("", shown),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) if !scheme.is_empty() => format!("{scheme}{host}{path}"),
        _ => shown.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shown_text::MAX_SHOWN_BYTES;

    #[test]
    fn a_quote_ends_between_two_characters() {
        assert_eq!(quote(b" busy\r\n"), "busy");
        assert_eq!(quote(b""), "");
        let long = format!("x{}", "\u{e9}".repeat(MAX_RAW_BYTES));
        assert_eq!(quote(long.as_bytes()), format!("x{}", "\u{e9}".repeat(MAX_RAW_BYTES / 2 - 1)));
        let shown = mask_and_shorten(&long, &Secrets::default());
        assert_eq!(shown, format!("x{}", "\u{e9}".repeat(MAX_SHOWN_BYTES / 2 - 1)));
    }

    #[test]
    fn a_secret_is_masked_before_the_text_is_cut() {
        let secrets = Secrets::new(["secret-0123456789".to_owned()]);
        for before in 380..=420 {
            let text = format!("{}secret-0123456789 and more", "x".repeat(before));
            let shown = mask_and_shorten(&text, &secrets);
            assert!(!shown.contains("secret"), "{shown}");
            assert!(shown.len() <= MAX_SHOWN_BYTES);
        }
    }

    #[test]
    fn the_secret_parts_of_a_url_are_not_shown() {
        for (url, shown) in [
            ("https://me:pw@h:1/a?token=x#y", "https://h:1/a"),
            ("https://h/a#token=x", "https://h/a"),
            ("//me@h/a", "//h/a"),
            ("https://me:p@w@h", "https://h"),
            ("/a@b?x", "/a@b"),
            ("https://h/btc@trade", "https://h/btc@trade"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}

//! Quotes of what a server sent, for logs and errors.

/// Maximum length of a quote in bytes.
const MAX_QUOTE_BYTES: usize = 300;

/// Returns the beginning of a text that a server sent, without surrounding white space.
pub(super) fn quote(text: &[u8]) -> String {
    let text = text.trim_ascii();
    let is_continuation = |end: usize| text.get(end).is_some_and(|byte| byte & 0xC0 == 0x80);
    let mut end = text.len().min(MAX_QUOTE_BYTES);
    while end > 0 && is_continuation(end) {
        end -= 1;
    }
    String::from_utf8_lossy(text.split_at(end).0).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_short_and_ends_between_two_characters() {
        assert_eq!(quote(b" busy\r\n"), "busy");
        assert_eq!(quote(b""), "");
        let long = format!("x{}", "\u{e9}".repeat(MAX_QUOTE_BYTES));
        assert_eq!(quote(long.as_bytes()), format!("x{}", "\u{e9}".repeat(149)));
    }
}

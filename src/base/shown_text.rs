//! The length to which a stranger's words are shown.

/// Maximum length in bytes of a text that is shown.
pub(crate) const MAX_SHOWN_BYTES: usize = 400;

/// Returns the beginning of a text of any length, as it may be shown in a log.
pub(crate) fn shorten(text: &str) -> &str {
    let mut end = text.len().min(MAX_SHOWN_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let long = format!("x{}", "ü".repeat(1_000));
        assert_eq!(shorten(&long).len(), MAX_SHOWN_BYTES - 1);
    }
}

//! Texts that must not be shown.

use std::sync::Arc;

/// The values that came into the configuration from `${NAME}`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Arc<[String]>);

impl Secrets {
    pub(crate) fn new(mut values: Vec<String>) -> Self {
        values.retain(|value| !value.is_empty());
        // The longest first, so that a secret that begins like another is hidden whole.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values.into())
    }

    /// The text with every secret replaced by `***`.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_contains_another_is_masked_entirely() {
        let secrets = Secrets::new(vec!["key".to_owned(), String::new(), "key-2".to_owned()]);
        assert_eq!(secrets.mask("a key-2 and a key"), "a *** and a ***");
    }
}

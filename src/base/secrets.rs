//! The secrets of a configuration, which must not be shown.

use std::sync::Arc;

/// The values that the configuration takes from `${NAME}`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Arc<[String]>);

impl Secrets {
    /// Returns the secrets. Empty values are none.
    pub(crate) fn new(mut values: Vec<String>) -> Self {
        values.retain(|value| !value.is_empty());
        // The longest first, so that a secret that contains another is masked entirely.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values.into())
    }

    /// Returns the text with every secret replaced by `***`.
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

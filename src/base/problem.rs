//! A problem of a configuration.

use serde_json::Value;

use super::suggest::did_you_mean;

/// A problem of a configuration, at a path such as `sinks[0].output_dir`. The empty path means the
/// whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: String,
    pub(crate) message: String,
}

impl Problem {
    /// Returns a problem at `path`.
    pub(crate) fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// Returns the problem that serde found within the section at `base`.
    pub(crate) fn from_serde(
        base: &str,
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) -> Self {
        let inner = error.path().to_string();
        let path = match (base, inner.as_str()) {
            (_, ".") => base.to_owned(),
            ("", _) => inner,
            _ => format!("{base}.{inner}"),
        };
        Self { path, message: translate_serde_message(&error.inner().to_string()) }
    }

    /// Returns a problem of the section at `base`. Its path is that of the first key of the section
    /// that `message` names in backticks.
    pub(crate) fn in_section(base: &str, message: impl Into<String>, section: &Value) -> Self {
        let message = message.into();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let Some(key) = quoted.find(|key| has_value(section, key)) else {
            return Self::at(base, message);
        };
        // The path names the key already.
        let rest = message.strip_prefix(&format!("`{key}`: ")).unwrap_or(&message);
        Self::at(format!("{base}.{key}"), rest)
    }
}

/// Returns whether the section has a value for a key such as `tls.ca_file` or `topics[0]`.
fn has_value(section: &Value, key: &str) -> bool {
    let pointer = format!("/{}", key.replace(['.', '['], "/").replace(']', ""));
    section.pointer(&pointer).is_some_and(|value| !value.is_null())
}

/// Translates a message of serde into the words of a configuration file.
fn translate_serde_message(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let key = quoted.next().unwrap_or_default();
        let known: Vec<_> = quoted.collect();
        let hint = did_you_mean(key, known.iter().copied());
        let list = if hint.is_empty() && !known.is_empty() {
            format!("; known keys: {}", known.join(", "))
        } else {
            String::new()
        };
        return format!("unknown key `{key}`{hint}{list}");
    }
    if message.starts_with("unknown variant") {
        let value = quoted.next().unwrap_or_default();
        let known: Vec<_> = quoted.collect();
        let hint = did_you_mean(value, known.iter().copied());
        return format!("unknown value `{value}`{hint}; known: {}", known.join(", "));
    }
    if message.starts_with("missing field") {
        return format!("the key `{}` is missing", quoted.next().unwrap_or_default());
    }
    // Names of Rust types mean nothing to the author of a configuration.
    [
        ("expected path string", "expected a path, as text"),
        ("expected u16", "expected a whole number that is not negative"),
        ("expected u32", "expected a whole number that is not negative"),
        ("expected u64", "expected a whole number that is not negative"),
        ("expected usize", "expected a whole number that is not negative"),
        ("expected a sequence", "expected a list: [ … ]"),
        ("expected a map", "expected an object: { … }"),
        ("expected string or map", "expected one of the texts that the schema names"),
        ("expected struct PingConfig", "expected an object with `message` and `interval`"),
        ("expected struct TlsConfig", "expected an object"),
        ("expected struct ArchiveConfig", "expected an object"),
        ("expected struct CompressionConfig", "expected an object"),
        ("expected struct RetentionConfig", "expected an object"),
    ]
    .iter()
    .fold(message.to_owned(), |message, (theirs, ours)| message.replace(theirs, ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_messages_are_translated() {
        assert_eq!(
            translate_serde_message(
                "unknown field `buffer_sise`, expected one of `buffer_size`, `topic`"
            ),
            "unknown key `buffer_sise`, did you mean `buffer_size`?"
        );
        assert_eq!(
            translate_serde_message("unknown field `zzz`, expected `a`"),
            "unknown key `zzz`; known keys: a"
        );
        assert_eq!(translate_serde_message("missing field `url`"), "the key `url` is missing");
        assert_eq!(
            translate_serde_message("unknown variant `blok`, expected `block` or `drop_newest`"),
            "unknown value `blok`, did you mean `block`?; known: block, drop_newest"
        );
    }
}

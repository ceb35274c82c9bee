//! The text of a configuration file, which errors quote their positions from.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::archive::sha256_hash::Sha256Hash;
use crate::base::config_error::ConfigError;
use crate::base::env;
use crate::base::literal_secrets::find_literal_secrets;
use crate::base::problem::Problem;
use crate::base::secrets::Secrets;

/// The text of a configuration file, and the secrets that errors must not show.
pub(super) struct ConfigText {
    pub(super) file: PathBuf,
    text: String,
    /// SHA-256 of the file.
    pub(super) hash: Sha256Hash,
    pub(super) secrets: Secrets,
}

impl ConfigText {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let hint = if error.kind() == ErrorKind::NotFound {
                "; `streamer init` writes one to start from, `-config FILE` names another"
            } else {
                ""
            };
            let problem = Problem::at("", format!("cannot read the configuration: {error}{hint}"));
            ConfigError::new(file, None, vec![problem], &Secrets::default())
        })?;
        Ok(Self::new(file, &text))
    }

    /// Takes `text` as the content of `file`.
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let hash = Sha256Hash::digest(text.as_bytes());
        // Some editors write a byte order mark; JSON allows to ignore it (RFC 8259, 8.1).
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { file: file.to_owned(), text: text.to_owned(), hash, secrets: Secrets::default() }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Parses the text as a JSON object.
    ///
    /// # Errors
    /// The text is no JSON, or no object.
    pub(super) fn parse_object(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = serde_json::from_str(&self.text)
            .map_err(|error| ConfigError::from_syntax_error(&self.file, &error))?;
        match value {
            Value::Object(keys) => Ok(keys),
            _ => Err(self.error(vec![Problem::at("", "the configuration is an object: { … }")])),
        }
    }

    /// Replaces `${NAME}` in every string by the environment variable, and hides the values, and the
    /// secrets that the text holds literally, from then on.
    ///
    /// # Errors
    /// Every variable that is not set, with its path.
    pub(super) fn expand_env(&self, value: &mut Value) -> Result<(), Vec<Problem>> {
        let inserted = env::expand(value, &|name| std::env::var(name).ok())?;
        self.secrets.add(inserted);
        self.secrets.add(find_literal_secrets(value).into_iter().flat_map(|found| found.values));
        Ok(())
    }

    /// Returns an error with the positions of the problems in this text.
    pub(super) fn error(&self, problems: Vec<Problem>) -> ConfigError {
        ConfigError::new(&self.file, Some(&self.text), problems, &self.secrets)
    }
}

//! Paths as people write them. What only a shell understands is an error: a directory with the name
//! `~` would not be found again.

use std::path::{Component, Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The error for a path that only a shell understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathTextError {
    /// The path begins with `~`.
    #[error(
        "`{path}` begins with `~`, which only a shell replaces by a home directory; write the directory itself, or in a configuration `${{HOME}}/…` (and `./~…` for a file of such a name)"
    )]
    Tilde { path: String },
    /// A part of the path is a variable.
    #[error(
        "`{path}` has the variable `${name}`, which only a shell fills in; write its value, or in a configuration `${{{name}}}`"
    )]
    Variable { path: String, name: String },
}

/// Checks that the path means without a shell what it says.
///
/// # Errors
/// It begins with `~`, or a part of it is a variable such as `$HOME`.
pub(crate) fn check_path_text(path: &Path) -> Result<(), PathTextError> {
    let shown = || path.display().to_string();
    let mut parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    });
    if path.to_str().is_some_and(|text| text.starts_with('~')) {
        return Err(PathTextError::Tilde { path: shown() });
    }
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match parts.find_map(|part| part.strip_prefix('$').filter(|name| is_name(name))) {
        Some(name) => Err(PathTextError::Variable { path: shown(), name: name.to_owned() }),
        None => Ok(()),
    }
}

/// Deserializes a path.
///
/// # Errors
/// See [`check_path_text`].
pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + PathTexts,
    D: Deserializer<'de>,
{
    let paths = T::deserialize(deserializer)?;
    paths.paths().into_iter().try_for_each(check_path_text).map_err(D::Error::custom)?;
    Ok(paths)
}

/// A value that consists of paths.
pub(crate) trait PathTexts {
    /// Returns the paths.
    fn paths(&self) -> Vec<&Path>;
}

impl PathTexts for String {
    fn paths(&self) -> Vec<&Path> {
        vec![Path::new(self)]
    }
}

impl PathTexts for PathBuf {
    fn paths(&self) -> Vec<&Path> {
        vec![self]
    }
}

impl PathTexts for Option<PathBuf> {
    fn paths(&self) -> Vec<&Path> {
        self.iter().map(PathBuf::as_path).collect()
    }
}

impl PathTexts for Vec<PathBuf> {
    fn paths(&self) -> Vec<&Path> {
        self.iter().map(PathBuf::as_path).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_shell_understands_is_an_error() {
        for bad in ["~", "~/x", "~user/x", "~user", "$HOME/x", "/data/$USER/x", "$_a"] {
            assert!(check_path_text(Path::new(bad)).is_err(), "{bad}");
        }
        for good in
            ["", "./~", "./~/x", "/a/~", "a~b", "/a/b~", "$", "a$HOME", "/x/$RECYCLE.BIN", "$1/x"]
        {
            check_path_text(Path::new(good)).unwrap();
        }
        let error = check_path_text(Path::new("/a/$HOME/b")).unwrap_err().to_string();
        assert!(error.contains("${HOME}"), "{error}");
    }
}

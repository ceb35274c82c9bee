//! What is wrong with a configuration, and where.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use jsonc_parser::ast::Value as Node;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::Value;

use super::secrets::Secrets;
use super::suggest::did_you_mean;

/// One thing that is wrong, at a path such as `sinks[0].output_dir`; the empty path is the whole
/// file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: String,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The problem that serde found within the section at `base`.
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

    /// A problem of the section at `base`, or of the first key of it that the message names.
    pub(crate) fn in_section(base: &str, message: impl Into<String>, section: &Value) -> Self {
        let message = message.into();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let Some(key) = quoted.find(|key| has_value(section, key)) else {
            return Self::at(base, message);
        };
        // The path says it already.
        let rest = message.strip_prefix(&format!("`{key}`: ")).unwrap_or(&message);
        Self::at(format!("{base}.{key}"), rest)
    }
}

/// Whether the section has a value for the key, such as `tls.ca_file` or `topics[0]`.
fn has_value(section: &Value, key: &str) -> bool {
    let pointer = format!("/{}", key.replace(['.', '['], "/").replace(']', ""));
    section.pointer(&pointer).is_some_and(|value| !value.is_null())
}

/// Serde's messages in the words of a configuration file.
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
    // What serde calls the types of this program.
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

/// A configuration file that cannot be used: every problem found, with its place.
#[derive(Debug)]
pub(crate) struct ConfigError {
    file: PathBuf,
    problems: Vec<(Option<TextPosition>, Problem)>,
}

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TextPosition {
    line: usize,
    column: usize,
}

impl ConfigError {
    /// Problems with the file, whose text (if it could be read) gives their places.
    pub(crate) fn new(
        file: &Path,
        text: Option<&str>,
        problems: Vec<Problem>,
        secrets: &Secrets,
    ) -> Self {
        let problems = problems
            .into_iter()
            .map(|mut problem| {
                // A message may quote the value that is wrong.
                problem.message = secrets.mask(&problem.message);
                (text.and_then(|text| position_of(text, &problem.path)), problem)
            })
            .collect();
        Self { file: file.to_owned(), problems }
    }

    /// A text that is no JSON.
    pub(crate) fn from_syntax_error(file: &Path, error: &serde_json::Error) -> Self {
        let place = TextPosition { line: error.line(), column: error.column() };
        let message = error.to_string();
        // The place is said once, in front.
        let message = message.split(" at line ").next().unwrap_or_default();
        let problem = Problem::at("", format!("not valid JSON: {message}"));
        Self { file: file.to_owned(), problems: vec![(Some(place), problem)] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (place, problem)) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some(place) = place {
                write!(f, ":{}:{}", place.line, place.column)?;
            }
            if !problem.path.is_empty() {
                write!(f, ": {}", problem.path)?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Keys that stand twice in the same object: which of them is meant cannot be known.
pub(crate) fn duplicate_keys(text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default());
    if let Some(root) = parsed.ok().and_then(|parsed| parsed.value) {
        find_duplicates(&root, "", &mut problems);
    }
    problems
}

fn find_duplicates(node: &Node<'_>, path: &str, problems: &mut Vec<Problem>) {
    match node {
        Node::Object(object) => {
            let mut seen = BTreeSet::new();
            for property in &object.properties {
                let key = property.name.as_str();
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{key}");
                if !seen.insert(key) {
                    problems.push(Problem::at(&path, format!("the key `{key}` stands here twice")));
                }
                find_duplicates(&property.value, &path, problems);
            }
        }
        Node::Array(array) => {
            for (index, element) in array.elements.iter().enumerate() {
                find_duplicates(element, &format!("{path}[{index}]"), problems);
            }
        }
        _ => {}
    }
}

/// Where the value at `path` starts, or the nearest of its ancestors that is in the text.
fn position_of(text: &str, path: &str) -> Option<TextPosition> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).ok()?;
    let root = parsed.value?;
    let (mut node, mut offset) = (&root, root.start());
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match node {
            Node::Object(object) => object.get(step).map(|p| (&p.value, p.start())),
            Node::Array(array) => step
                .strip_suffix(']')
                .and_then(|index| index.parse::<usize>().ok())
                .and_then(|index| array.elements.get(index))
                .map(|element| (element, element.start())),
            _ => None,
        };
        let Some(next) = next else { break };
        (node, offset) = next;
    }
    let before = text.get(..offset)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some(TextPosition { line, column })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_located_at_its_key_or_its_nearest_ancestor() {
        let text = "{\n  \"a\": {\n    \"b\": [1, {\"c\": 2}]\n  }\n}";
        let at = |path| position_of(text, path).map(|p| (p.line, p.column));
        assert_eq!(at(""), Some((1, 1)));
        assert_eq!(at("a"), Some((2, 3)));
        assert_eq!(at("a.b"), Some((3, 5)));
        assert_eq!(at("a.b[1].c"), Some((3, 15)));
        assert_eq!(at("a.x.y"), Some((2, 3)));
    }

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

//! The error for a configuration file that cannot be used.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use jsonc_parser::ast::Value as Node;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::problem::Problem;
use super::secrets::Secrets;

/// A configuration file that cannot be used, with every problem of it.
#[derive(Debug)]
pub(crate) struct ConfigError {
    file: PathBuf,
    problems: Vec<LocatedProblem>,
}

/// A problem with its position in the text, where that is known.
#[derive(Debug)]
struct LocatedProblem {
    position: Option<TextPosition>,
    problem: Problem,
}

/// A position in a text: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TextPosition {
    line: usize,
    column: usize,
}

impl ConfigError {
    /// Returns the problems of the file, located in its text where that could be read. Secrets in
    /// messages are masked, since a message may quote the value that is wrong.
    pub(crate) fn new(
        file: &Path,
        text: Option<&str>,
        problems: Vec<Problem>,
        secrets: &Secrets,
    ) -> Self {
        let problems = problems
            .into_iter()
            .map(|mut problem| {
                problem.message = secrets.mask(&problem.message);
                let position = text.and_then(|text| position_of(text, &problem.path));
                LocatedProblem { position, problem }
            })
            .collect();
        Self { file: file.to_owned(), problems }
    }

    /// Returns the problem of a text that is no JSON.
    pub(crate) fn from_syntax_error(file: &Path, error: &serde_json::Error) -> Self {
        let position = Some(TextPosition { line: error.line(), column: error.column() });
        let message = error.to_string();
        // The position is named once, in front.
        let message = message.split(" at line ").next().unwrap_or_default();
        let problem = Problem::at("", format!("not valid JSON: {message}"));
        Self { file: file.to_owned(), problems: vec![LocatedProblem { position, problem }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, LocatedProblem { position, problem }) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some(position) = position {
                write!(f, ":{}:{}", position.line, position.column)?;
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

/// Returns a problem for each key that an object has twice, since nobody knows which one is meant.
/// A text that is no JSON has none.
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

/// Returns the position of the value at `path`, or of its nearest ancestor that is in the text.
/// Returns `None` for a text that is no JSON.
fn position_of(text: &str, path: &str) -> Option<TextPosition> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).ok()?;
    let root = parsed.value?;
    let mut node = &root;
    let mut offset = root.start();
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
}

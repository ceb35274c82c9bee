//! A source file, as far as its dependencies go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The paths, re-exports and implementations of one file.
#[derive(Debug, Default)]
pub(crate) struct SourceFile {
    /// The path below `src`.
    pub(crate) path: String,
    /// Every path that leads somewhere else, but for re-exports.
    pub(crate) paths: Vec<UsedPath>,
    /// The path behind each name that is re-exported.
    pub(crate) reexports: BTreeMap<String, Vec<String>>,
    /// Inherent implementations of types that the file does not define.
    pub(crate) foreign_impls: Vec<ForeignImpl>,
    /// Modules that are compiled for tests alone.
    test_modules: BTreeSet<String>,
}

/// A path as it is written, split at `::`.
#[derive(Debug)]
pub(crate) struct UsedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// An inherent implementation of a type that another file defines.
#[derive(Debug)]
pub(crate) struct ForeignImpl {
    pub(crate) name: String,
    pub(crate) line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// Reads every file below a directory that is not compiled for tests alone, by its module.
pub(crate) fn read_tree(src: &Path) -> Result<BTreeMap<String, SourceFile>> {
    let mut files = BTreeMap::new();
    read_directory(src, "", &mut files)?;
    let tests: Vec<_> = files
        .iter()
        .flat_map(|(module, file): (&String, &SourceFile)| {
            file.test_modules.iter().map(move |name| join(module, name))
        })
        .collect();
    files.retain(|module, _| {
        !tests.iter().any(|test| module == test || module.starts_with(&format!("{test}::")))
    });
    Ok(files)
}

fn read_directory(
    dir: &Path,
    module: &str,
    files: &mut BTreeMap<String, SourceFile>,
) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read `{}`", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            read_directory(&path, &join(module, &stem), files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = if module.is_empty() && stem == "lib" {
                String::new()
            } else {
                join(module, &stem)
            };
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let shown = if name.is_empty() { "lib".to_owned() } else { name.replace("::", "/") };
            files.insert(name, SourceFile::parse(&format!("{shown}.rs"), &text));
        }
    }
    Ok(())
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

impl SourceFile {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        let tokens = file.without_tests(&tokens(text));
        let mut defined = BTreeSet::new();
        let mut impls = Vec::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token.text.as_str() {
                "use" => {
                    let public = is_public(&tokens, at);
                    let end = position(&tokens, at, ";");
                    file.add_use(&tokens[at + 1..end], public);
                    at = end;
                }
                "crate" | "super" | "self" if follows(&tokens, at, "::") => {
                    let mut segments = vec![token.text.clone()];
                    while follows(&tokens, at, "::")
                        && let Some(next) = tokens.get(at + 2).filter(|next| is_name(&next.text))
                    {
                        segments.push(next.text.clone());
                        at += 2;
                    }
                    file.paths.push(UsedPath { segments, line: token.line });
                }
                "struct" | "enum" | "union" => {
                    defined.extend(tokens.get(at + 1).map(|name| name.text.clone()));
                }
                "impl" => {
                    let end = position(&tokens, at, "{");
                    let head = without_generics(&tokens[at + 1..end]);
                    if let [name, ..] = head.as_slice()
                        && head.iter().all(|token| token.text != "for")
                        && is_start_of_item(&tokens, at)
                    {
                        impls.push(ForeignImpl { name: name.text.clone(), line: token.line });
                    }
                }
                _ => {}
            }
            at += 1;
        }
        impls.retain(|implementation| !defined.contains(&implementation.name));
        file.foreign_impls = impls;
        file
    }

    /// Leaves out every item behind `#[cfg(test)]`, and notes the modules among them.
    fn without_tests(&mut self, tokens: &[Token]) -> Vec<Token> {
        let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
        let mut kept = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let is_test = attribute.iter().enumerate().all(|(offset, text)| {
                tokens.get(at + offset).is_some_and(|token| token.text == *text)
            });
            if !is_test {
                kept.push(tokens[at].clone());
                at += 1;
                continue;
            }
            at += attribute.len();
            let semicolon = position(tokens, at, ";");
            let brace = position(tokens, at, "{");
            if semicolon < brace {
                if let Some(place) =
                    tokens[at..semicolon].iter().position(|token| token.text == "mod")
                {
                    self.test_modules.insert(tokens[at + place + 1].text.clone());
                }
                at = semicolon + 1;
            } else if tokens[at..brace].iter().any(|token| token.text == "use") {
                at = semicolon + 1;
            } else {
                at = closing(tokens, brace) + 1;
            }
        }
        kept
    }

    fn add_use(&mut self, tree: &[Token], public: bool) {
        let mut leaves = Vec::new();
        expand(tree, &[], &mut leaves);
        for (mut segments, name, line) in leaves {
            if segments.last().is_some_and(|last| last == "self") {
                segments.pop();
            }
            if public {
                self.reexports.insert(name, segments);
            } else {
                self.paths.push(UsedPath { segments, line });
            }
        }
    }
}

/// Takes a `use` tree apart into its leaves: segments, the name in this file, the line.
fn expand(tree: &[Token], prefix: &[String], leaves: &mut Vec<(Vec<String>, String, usize)>) {
    let mut segments = prefix.to_vec();
    let mut alias = None;
    let mut at = 0;
    while let Some(token) = tree.get(at) {
        match token.text.as_str() {
            "::" => {}
            "as" => {
                alias = tree.get(at + 1).map(|token| token.text.clone());
                at += 1;
            }
            "{" => {
                let end = closing(tree, at);
                let mut start = at + 1;
                let mut depth = 0;
                for index in at + 1..=end.min(tree.len() - 1) {
                    match tree[index].text.as_str() {
                        "{" => depth += 1,
                        "}" if index != end => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 && (tree[index].text == "," || index == end) {
                        if start < index {
                            expand(&tree[start..index], &segments, leaves);
                        }
                        start = index + 1;
                    }
                }
                return;
            }
            text => segments.push(text.to_owned()),
        }
        at += 1;
    }
    let line = tree.first().map_or(0, |token| token.line);
    let name = segments.iter().rev().find(|name| *name != "self").cloned().unwrap_or_default();
    leaves.push((segments, alias.unwrap_or(name), line));
}

/// Splits a text into names and marks; comments and literals are left out.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_name_start(first) {
            let length =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token { text: rest[..length].to_owned(), line });
            length
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(Token { text: rest[..length].to_owned(), line });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of the literal at the start of a text, if there is one.
fn literal(text: &str) -> Option<usize> {
    let quote = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - quote.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = quote.strip_prefix('r')
        && raw.starts_with(['"', '#'])
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let body = raw[hashes..].strip_prefix('"')?;
        return Some(text.len() - body.len() + body.find(&end)? + end.len());
    }
    if let Some(inner) = quote.strip_prefix('"') {
        return Some(prefix + 1 + end_of_quoted(inner, '"')?);
    }
    if let Some(inner) = quote.strip_prefix('\'') {
        let mut chars = inner.chars();
        let first = chars.next()?;
        // Otherwise it is a lifetime.
        if first == '\\' || chars.next() == Some('\'') {
            return Some(prefix + 1 + end_of_quoted(inner, '\'')?);
        }
    }
    None
}

/// Returns the offset behind the closing quote.
fn end_of_quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(is_name_start)
}

fn follows(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at + 1).is_some_and(|token| token.text == text)
}

fn position(tokens: &[Token], from: usize, text: &str) -> usize {
    tokens[from.min(tokens.len())..]
        .iter()
        .position(|token| token.text == text)
        .map_or(tokens.len(), |offset| from + offset)
}

/// Returns where the brace at `open` is closed.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// Returns whether a `use` stands behind `pub` or `pub(…)`.
fn is_public(tokens: &[Token], at: usize) -> bool {
    let before = &tokens[..at];
    match before {
        [.., public] if public.text == "pub" => true,
        [.., public, _, _, close] => public.text == "pub" && close.text == ")",
        _ => false,
    }
}

fn is_start_of_item(tokens: &[Token], at: usize) -> bool {
    at == 0
        || tokens
            .get(at - 1)
            .is_some_and(|before| matches!(before.text.as_str(), "}" | ";" | "]" | "unsafe"))
}

/// Leaves out everything between angle brackets.
fn without_generics(tokens: &[Token]) -> Vec<&Token> {
    let mut depth = 0;
    let mut kept = Vec::new();
    for token in tokens {
        match token.text.as_str() {
            "<" => depth += 1,
            ">" => depth -= 1,
            _ if depth == 0 => kept.push(token),
            _ => {}
        }
    }
    kept
}

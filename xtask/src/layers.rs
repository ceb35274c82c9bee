//! Checks which file of `src` may depend on which.
//!
//! Read from the `use` lines and the paths that begin with `crate`, `super` or `self`, tests left
//! out. Re-exports are followed to the file that defines the name, so that a facade is no circle.

#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a panic of this developer tool costs nothing, and names the line"
)]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};

use self::source::{SourceFile, read_tree};
use crate::root;

/// The layers, lowest first: a directory depends on those in earlier rows alone.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["archive", "exchange"],
    &["metrics"],
    &["plugin"],
    &["engine"],
    &["sources", "stages", "sinks"],
    &["registry"],
    &["config"],
    &["recorder"],
    &["cli"],
];

/// A dependency of one file on another, with the line that makes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    from: String,
    to: String,
    line: usize,
}

/// Fails with every line that breaks a rule.
pub(crate) fn layers() -> Result<()> {
    let broken = violations(&read_tree(&Path::new(root()).join("src"))?);
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{} lines break a layer:\n{}", broken.len(), broken.join("\n"));
}

fn violations(files: &BTreeMap<String, SourceFile>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut dependencies = BTreeSet::new();
    for (module, file) in files {
        if rank(module).is_none() {
            broken.push(format!("src/{}: is in no layer", file.path));
        }
        for path in &file.paths {
            if let Some(to) = resolve(files, module, &path.segments)
                && to != *module
            {
                dependencies.insert(Dependency { from: module.clone(), to, line: path.line });
            }
        }
        for implementation in &file.foreign_impls {
            broken.push(format!(
                "src/{}:{}: `impl {}` stands outside the file that defines the type",
                file.path, implementation.line, implementation.name,
            ));
        }
    }
    for Dependency { from, to, line } in &dependencies {
        let path = &files[from].path;
        if let Some(rule) = broken_rule(from, to) {
            broken.push(format!("src/{path}:{line}: `{from}` uses `{to}`, but {rule}"));
        } else if reaches(&dependencies, to, from) {
            broken.push(format!("src/{path}:{line}: `{from}` uses `{to}` in a circle"));
        }
    }
    broken
}

/// Returns the rule that a dependency breaks.
fn broken_rule(from: &str, to: &str) -> Option<String> {
    let (from_rank, to_rank) = (rank(from)?, rank(to)?);
    let (from, to) = (layer(from), layer(to));
    if from == to || to_rank < from_rank {
        return None;
    }
    Some(if to_rank == from_rank {
        format!("`{from}` and `{to}` do not know each other")
    } else {
        format!("layer `{from}` is below layer `{to}`")
    })
}

fn layer(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// Returns the row of the module's layer. The root of the crate knows all of them.
fn rank(module: &str) -> Option<usize> {
    if module.is_empty() || module == "main" {
        return Some(LAYERS.len());
    }
    LAYERS.iter().position(|row| row.contains(&layer(module)))
}

/// Returns the module whose file defines what a path names; none for another crate.
fn resolve(
    files: &BTreeMap<String, SourceFile>,
    from: &str,
    segments: &[String],
) -> Option<String> {
    let mut module = from.to_owned();
    let mut rest = segments;
    match rest.first().map(String::as_str)? {
        "crate" => {
            module = String::new();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                module = parent(&module);
                rest = &rest[1..];
            }
        }
        first => {
            files.get(&child(&module, first))?;
        }
    }
    for (index, segment) in rest.iter().enumerate() {
        let inner = child(&module, segment);
        if files.contains_key(&inner) {
            module = inner;
        } else if let Some(target) = files[&module].reexports.get(segment) {
            let path: Vec<_> = target.iter().chain(&rest[index + 1..]).cloned().collect();
            return resolve(files, &module, &path);
        } else {
            break;
        }
    }
    Some(module)
}

fn child(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

fn parent(module: &str) -> String {
    module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned())
}

fn reaches(dependencies: &BTreeSet<Dependency>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        if module == to {
            return true;
        }
        for dependency in dependencies.iter().filter(|dependency| dependency.from == module) {
            if seen.insert(&dependency.to) {
                next.push(&dependency.to);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> BTreeMap<String, SourceFile> {
        let mut all = BTreeMap::from([(String::new(), SourceFile::parse("lib.rs", ""))]);
        for (path, text) in files {
            let module = path.trim_end_matches(".rs").replace('/', "::");
            all.insert(module, SourceFile::parse(path, text));
        }
        all
    }

    #[test]
    fn a_lower_layer_must_not_use_a_higher_one() {
        let files = tree(&[
            ("base.rs", ""),
            ("base/time.rs", "use std::fmt;\nuse crate::cli::{run, args::Args};\n"),
            ("cli.rs", "pub fn run() {}"),
            ("cli/args.rs", "use crate::base::time;"),
        ]);
        let broken = violations(&files);
        // Both names of the line, and the line that closes the circle.
        assert_eq!(broken.len(), 3, "{broken:?}");
        assert!(broken[0].starts_with("src/base/time.rs:2: `base::time` uses `cli`"), "{broken:?}");
    }

    #[test]
    fn directories_of_one_row_must_not_use_each_other() {
        let files = tree(&[("sinks.rs", ""), ("stages.rs", "fn f() { crate::sinks::make(); }")]);
        assert!(violations(&files)[0].ends_with("`stages` and `sinks` do not know each other"));
    }

    #[test]
    fn a_circle_is_found_through_a_third_file_and_a_facade_is_none() {
        let facade = ("engine.rs", "mod a;\nmod b;\nmod c;\npub use self::a::A;");
        let a = ("engine/a.rs", "use super::b::B; pub struct A;");
        let b = ("engine/b.rs", "use super::c::C; pub struct B;");
        let whole = tree(&[facade, a, b, ("engine/c.rs", "pub struct C;")]);
        assert_eq!(violations(&whole), Vec::<String>::new());
        let circle = tree(&[facade, a, b, ("engine/c.rs", "use crate::engine::A; pub struct C;")]);
        assert_eq!(violations(&circle).len(), 3);
    }

    #[test]
    fn tests_may_use_what_they_like() {
        let text = "#[cfg(test)]\nuse crate::cli::run;\n#[cfg(test)]\nmod tests {\n    use crate::cli::run;\n}\n";
        assert_eq!(violations(&tree(&[("base.rs", text), ("cli.rs", "")])), Vec::<String>::new());
    }

    #[test]
    fn an_inherent_impl_stands_with_its_type() {
        let files = tree(&[("base.rs", "impl Other { fn f() {} }\nimpl Clone for Other {}")]);
        assert_eq!(violations(&files).len(), 1);
    }

    #[test]
    fn the_map_shows_the_layers_in_their_order() {
        let map = Path::new(root()).join("docs/architecture.md");
        let map = std::fs::read_to_string(map).unwrap();
        let (_, table) = map.split_once("| layer | contents |\n").unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|')).skip(1);
        let cells = rows.map(|row| row.split('|').nth(1).unwrap());
        let shown: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        assert_eq!(shown, LAYERS.concat());
    }
}

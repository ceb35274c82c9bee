//! The documentation keeps its promises: its commands run, its configurations are valid, its links
//! resolve, and the tests that it names exist.

mod console_examples;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use self::console_examples::Exchange;
use crate::harness::{Test, binary, run};

const MAX_README_BYTES: usize = 9 * 1024;
const MAX_COLUMNS: usize = 100;
const MAX_TABLE_COLUMNS: usize = 160;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file of the repository.
struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        Self { path, text }
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    /// The lines outside of code blocks.
    fn prose(&self) -> Vec<&str> {
        let mut in_block = false;
        let mut lines = Vec::new();
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
            } else if !in_block {
                lines.push(line);
            }
        }
        lines
    }

    /// The code blocks with this info string.
    fn blocks(&self, info: &str) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut open: Option<(bool, String)> = None;
        for line in self.text.lines() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(language)) => open = Some((language == info, String::new())),
                (Some(_), Some(_)) => {
                    let (wanted, block) = open.take().unwrap();
                    blocks.extend(wanted.then_some(block));
                }
                (Some((_, block)), None) => writeln!(block, "{line}").unwrap(),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a code block is not closed", self.name());
        blocks
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for line in self.prose() {
            let Some(heading) = line.trim_start_matches('#').strip_prefix(' ') else { continue };
            if !line.starts_with('#') {
                continue;
            }
            let anchor: String = heading
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let same = |other: &&String| {
                let number = other.strip_prefix(&anchor).and_then(|rest| rest.strip_prefix('-'));
                **other == anchor || number.is_some_and(|number| number.parse::<u32>().is_ok())
            };
            let before = anchors.iter().filter(same).count();
            anchors.push(if before == 0 { anchor } else { format!("{anchor}-{before}") });
        }
        anchors
    }

    /// The targets of the links and pictures.
    fn links(&self) -> Vec<String> {
        let prose = self.prose().join("\n");
        let targets = prose.split("](").skip(1);
        targets.map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
    }
}

fn document(name: &str) -> Document {
    Document::read(root().join(name))
}

/// The README and every page of `docs`.
fn documents() -> Vec<Document> {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    paths.sort();
    paths.insert(0, root().join("README.md"));
    paths.into_iter().map(Document::read).collect()
}

/// The text of every Rust file below a directory.
fn append_sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            append_sources(&entry, text);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(entry).unwrap();
        }
    }
}

fn sources(dirs: &[&str]) -> String {
    let mut text = String::new();
    for dir in dirs {
        append_sources(&root().join(dir), &mut text);
    }
    text
}

/// The texts between backticks.
fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_readme_is_short() {
    let readme = document("README.md");
    assert!(readme.text.len() <= MAX_README_BYTES, "{} bytes", readme.text.len());
    for command in ["$ cargo run --release -- demo\n", "$ cargo test --workspace\n"] {
        assert!(readme.text.contains(command), "the README lacks {command}");
    }
}

#[test]
fn no_line_is_wider_than_a_screen() {
    let mut pages = documents();
    pages.push(document("CHANGELOG.md"));
    for page in pages {
        for (index, line) in page.text.lines().enumerate() {
            let is_row = line.trim_start().starts_with('|');
            let limit = if is_row { MAX_TABLE_COLUMNS } else { MAX_COLUMNS };
            let columns = line.chars().count();
            assert!(columns <= limit, "{}:{}: {columns} columns", page.name(), index + 1);
        }
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut pages = documents();
    pages.push(document("CHANGELOG.md"));
    let mut dead = Vec::new();
    for page in &pages {
        for link in page.links() {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.path.clone(),
                path => page.path.parent().unwrap().join(path),
            };
            let leads = target.exists()
                && (anchor.is_empty()
                    || Document::read(target).anchors().iter().any(|found| found == anchor));
            if !leads {
                dead.push(format!("{}: {link}", page.name()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn every_json_block_is_a_valid_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    // The source `file` opens what it will read.
    fs::write(dir.path().join("old.jsonl.zst"), "").unwrap();
    let mut checked = 0;
    for page in documents() {
        for block in page.blocks("json") {
            fs::write(&file, &block).unwrap();
            let output = binary()
                .args(["check", "-config"])
                .arg(&file)
                .env("EXCHANGE_TOKEN", "x")
                .current_dir(dir.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}: {}\n{block}", page.name(), words(&output));
            checked += 1;
        }
        for block in page.blocks("jsonl") {
            for line in block.lines() {
                let event: Value = serde_json::from_str(line).unwrap();
                assert!(event["t"].is_u64() && event["event"].is_string(), "{line}");
            }
        }
    }
    assert!(checked > 15, "only {checked} configurations were found");
}

#[test]
fn every_profile_block_is_a_valid_profile() {
    let dir = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for page in documents() {
        for block in page.blocks("json profile") {
            fs::write(dir.path().join("example.json"), &block).unwrap();
            let output = run(&["profiles", "--dir", dir.path().to_str().unwrap()]);
            assert!(output.status.success(), "{}: {}\n{block}", page.name(), words(&output));
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn every_test_that_the_losses_name_exists() {
    let code = sources(&["src", "tests"]);
    let losses = document("docs/losses.md");
    let (_, cases) = losses.text.split_once("\n## Cases\n").unwrap();
    let cases: Vec<_> = cases.split("\n### ").skip(1).collect();
    assert!(cases.len() > 20);
    for case in cases {
        let title = case.lines().next().unwrap();
        for item in ["- Lost at most: ", "- Where it shows: ", "- Tests: "] {
            assert_eq!(case.matches(item).count(), 1, "{title}: {item}");
        }
        let (_, tests) = case.split_once("- Tests: ").unwrap();
        let names = code_spans(tests);
        assert!(!names.is_empty(), "{title}");
        for name in names {
            let exists = match name.strip_suffix("::") {
                Some(module) => root().join(format!("tests/{module}.rs")).exists(),
                None => code.contains(&format!("fn {name}(")),
            };
            assert!(exists, "{title}: no test is called `{name}`");
        }
    }
}

#[test]
fn every_file_and_every_test_in_the_map_of_the_code_exists() {
    let code = sources(&["src", "tests", "xtask"]);
    let mut files = Vec::new();
    list_files(&root().join("src"), &mut files);
    list_files(&root().join("tests"), &mut files);
    let mut checked = 0;
    for page in ["docs/architecture.md", "docs/contributing.md"] {
        for span in code_spans(&document(page).text) {
            let exists = if span.ends_with(".rs") {
                files.iter().any(|file| file.ends_with(&format!("/{span}")))
            } else if span.starts_with("src/") || span.starts_with("tests/") {
                root().join(span.replace("NAME", "generic")).exists()
            } else if span.matches('_').count() > 3 {
                code.contains(&format!("fn {span}("))
            } else {
                continue;
            };
            assert!(exists, "{page}: there is no `{span}`");
            checked += 1;
        }
    }
    assert!(checked > 50);
}

/// Appends the path of every file below a directory.
fn list_files(dir: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            list_files(&entry, files);
        } else {
            files.push(entry.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_name_in_the_plugin_guide_exists() {
    let code = sources(&["src"]);
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let is_declared = |name: &str| {
        let items = ["fn", "struct", "enum", "trait", "type", "mod"];
        let mut items = items.iter().map(|item| format!("{item} {name}"));
        let variants = [",", " {", "("].map(|end| format!("\n    {name}{end}"));
        let field = format!("\n    pub {name}: ");
        // The name ends where the text ends: `close` does not stand for `closed`.
        items.any(|item| {
            code.match_indices(&item).any(|(at, _)| !code[at + item.len()..].starts_with(is_part))
        }) || variants.iter().any(|variant| code.contains(variant))
            || code.contains(&field)
    };
    let guide = document("docs/plugins.md");
    let (_, rules) = guide.text.split_once("\n## Batches\n").unwrap();
    let (rules, _) = rules.split_once("\n## Other languages\n").unwrap();
    let mut checked = 0;
    for span in code_spans(rules) {
        // The call in front of its arguments. Texts with spaces are no names, but commands or keys.
        let path = span.split('(').next().unwrap();
        let no_name = ["true", "false", "Err", "tracing", "shutdown_timeout"].contains(&path);
        if path.contains(' ') || no_name {
            continue;
        }
        // The first part of a path is a variable or a crate.
        let parts = path.split(|c: char| !is_part(c)).filter(|part| !part.is_empty());
        let skipped =
            usize::from(path.contains(['.', ':']) && path.starts_with(char::is_lowercase));
        for part in parts.skip(skipped) {
            assert!(is_declared(part), "`{span}`: nothing is called `{part}`");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn every_key_of_every_plugin_is_documented() {
    let pages = ["docs/configuration.md", "docs/websocket.md"].map(document);
    let text: String = pages.iter().map(|page| page.text.as_str()).collect();
    let configuration = code_spans(&text);
    let all = String::from_utf8(run(&["plugins", "--json"]).stdout).unwrap();
    let plugins = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    for plugin in plugins {
        let (kind, name) = (plugin["kind"].as_str().unwrap(), plugin["name"].as_str().unwrap());
        let mut kind_title = kind.to_owned();
        kind_title[..1].make_ascii_uppercase();
        assert!(
            text.contains(&format!("### {kind_title} `{name}`")),
            "no section on {kind} {name}"
        );
    }
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let is_key = |span: &&str| **span == key || span.ends_with(&format!(".{key}"));
        let inside = format!("\"{key}\"");
        let found = configuration.iter().any(|span| is_key(span) || span.contains(&inside));
        assert!(found, "the key `{key}` is not documented");
    }
}

/// The names of all properties in a schema.
fn collect_keys(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(parts) => {
            if let Some(Value::Object(properties)) = parts.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            parts.values().for_each(|part| collect_keys(part, keys));
        }
        Value::Array(parts) => parts.iter().for_each(|part| collect_keys(part, keys)),
        _ => {}
    }
}

#[test]
fn every_command_has_a_place_in_the_documentation() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let pages: String = documents().iter().map(|page| page.text.clone()).collect();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| line.starts_with("  "));
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        let documented = pages.contains(&format!("streamer {command}"));
        assert!(documented || command == "help", "`streamer {command}` is not documented");
    }
}

/// Returns the text of stdout and stderr.
fn words(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn every_field_of_the_status_is_documented() {
    let exchange = Exchange::start();
    let test = Test::new(&exchange.url).set("archive", json!({}));
    let recorder = test.start();
    let status =
        recorder.wait_until(|status| status["connected"] == true && status["archive"].is_object());
    let operations = document("docs/operations.md");
    let documented = code_spans(&operations.text);
    let sections = [&status, &status["pipelines"]["main"], &status["archive"]];
    for section in sections {
        for field in section.as_object().unwrap().keys() {
            assert!(documented.contains(&field.as_str()), "the field `{field}` is not documented");
        }
    }
    recorder.stop();
}

//! Loading the configuration: from a file to sections that can be built, or to every problem
//! with its place.

mod archive_config;
mod build;
mod document;
pub(crate) mod env;
mod pipeline_config;
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

pub(crate) use self::archive_config::{ArchiveConfig, Schedule};
use self::document::{Document, check_mixed_forms};
use self::pipeline_config::{PipelineConfig, check_archive_dirs, parse_sinks};
use crate::base::config_error::{ConfigError, Problem, duplicate_keys};
use crate::base::secrets::Secrets;
use crate::engine::Overflow;
use crate::registry::Registry;

/// A configuration that was read and checked. Nothing is built yet.
pub(crate) struct Config {
    file: PathBuf,
    text: String,
    written_keys: Map<String, Value>,
    pipelines: Vec<PipelineConfig>,
    /// The sink that writes messages to stdout.
    pub(crate) stdout_sink: Option<String>,
    secrets: Secrets,
    buffer_size: usize,
    buffer_bytes: usize,
    overflow: Overflow,
    /// How long a stop may take.
    pub(crate) shutdown_timeout: Duration,
    /// Between status lines in the log.
    pub(crate) status_interval: Option<Duration>,
    /// Where status queries are answered.
    pub(crate) status_socket: Option<PathBuf>,
    /// Where log lines go.
    pub(crate) log: LogConfig,
    /// What happens to closed hours, and where they are.
    pub(crate) archive: Option<(ArchiveConfig, Vec<PathBuf>)>,
    /// The explicit form with every default filled in. Secrets are as in the file: `${NAME}`.
    pub(crate) resolved: Value,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) file: Option<PathBuf>,
    pub(crate) to_stdout: bool,
    /// Size at which the file is begun anew; 0 for never.
    pub(crate) max_size: u64,
    /// How many older files are kept.
    pub(crate) max_old_files: u16,
}

impl Config {
    /// Reads the file and gives every section to the type that it names.
    ///
    /// # Errors
    /// Every problem that was found, each with its place.
    pub(crate) fn load(file: &Path, registry: &Registry) -> Result<Self, ConfigError> {
        let text = read_text(file)?;
        Self::parse(file, &text, registry)
    }

    /// Where a recorder with this configuration answers. Needs no more of the file than that: no
    /// secret, no certificate.
    ///
    /// # Errors
    /// The file cannot be read, or the key is wrong.
    pub(crate) fn load_status_socket(file: &Path) -> Result<Option<PathBuf>, ConfigError> {
        let text = read_text(file)?;
        let mut keys = parse_object(file, &text)?;
        let fail = |problems| ConfigError::new(file, Some(&text), problems, &Secrets::default());
        let mut only = Map::new();
        if let Some(key) = keys.remove_entry("status_socket") {
            only.extend([key]);
        }
        let mut only = Value::Object(only);
        env::expand(&mut only, &|name| std::env::var(name).ok()).map_err(fail)?;
        let document = Document::from_value(only).map_err(|problem| fail(vec![problem]))?;
        Ok(non_empty_path(document.status_socket))
    }

    /// Where the hours are, and what happens to them. Needs no more of the file than that.
    ///
    /// # Errors
    /// The file cannot be read, or these keys are wrong.
    pub(crate) fn load_archive(
        file: &Path,
        registry: &Registry,
    ) -> Result<(ArchiveConfig, Vec<PathBuf>), ConfigError> {
        let text = read_text(file)?;
        let keys = parse_object(file, &text)?;
        let fail = |problems| ConfigError::new(file, Some(&text), problems, &Secrets::default());
        let needed = |(key, _): &(&String, &Value)| {
            matches!(key.as_str(), "output_dir" | "sinks" | "pipelines" | "archive")
        };
        let only = keys.iter().filter(needed).map(|(key, value)| (key.clone(), value.clone()));
        let mut only = Value::Object(only.collect());
        pipeline_config::retain_sinks_only(&mut only);
        let secrets = env::expand(&mut only, &|name| std::env::var(name).ok()).map_err(fail)?;
        let secrets = Secrets::new(secrets);
        let fail = |problems| ConfigError::new(file, Some(&text), problems, &secrets);
        let document = Document::from_value(only).map_err(|problem| fail(vec![problem]))?;
        let mut problems = document.check(&keys);
        let sinks = parse_sinks(&document, &keys, registry, &mut problems);
        let dirs = check_archive_dirs(sinks, &mut problems);
        if dirs.is_empty() && problems.is_empty() {
            problems.push(Problem::at("sinks", "none of them writes hours"));
        }
        if problems.is_empty() {
            Ok((document.archive.unwrap_or_default(), dirs))
        } else {
            Err(fail(problems))
        }
    }

    pub(crate) fn parse(file: &Path, text: &str, registry: &Registry) -> Result<Self, ConfigError> {
        let keys = parse_object(file, text)?;
        let mut problems = duplicate_keys(text);
        problems.extend(check_mixed_forms(&keys));
        let mut expanded = Value::Object(keys.clone());
        let expansion = env::expand(&mut expanded, &|name| std::env::var(name).ok());
        let secrets = match expansion {
            Ok(secrets) => Secrets::new(secrets),
            Err(unset) => {
                problems.extend(unset);
                return Err(ConfigError::new(file, Some(text), problems, &Secrets::default()));
            }
        };
        let fail = |problems| ConfigError::new(file, Some(text), problems, &secrets);
        let document = match Document::from_value(expanded) {
            Ok(document) => document,
            Err(problem) => {
                problems.push(suggest_section(problem, registry));
                return Err(fail(problems));
            }
        };
        problems.extend(document.check(&keys));
        let pipelines = PipelineConfig::parse_all(&document, &keys, registry, &mut problems);
        let sinks = pipelines.iter().flat_map(|pipeline| {
            let sinks = pipeline.sinks.iter();
            sinks.map(|(path, sink)| (path.as_str(), sink.archive_dir.as_deref()))
        });
        let dirs = check_archive_dirs(sinks, &mut problems);
        if document.archive.is_some() && dirs.is_empty() && problems.is_empty() {
            problems.push(Problem::at(
                "archive",
                "is for sinks that write hours, and none of these does",
            ));
        }
        let sources = pipelines.iter().map(|pipeline| &pipeline.source);
        let stdin = sources.filter(|(_, source)| source.uses_stdin).map(|(path, _)| path);
        problems.extend(check_single_use(&stdin.collect::<Vec<_>>(), "stdin", "reads"));
        let sinks = pipelines.iter().flat_map(|pipeline| &pipeline.sinks);
        let stdout = sinks.filter(|(_, sink)| sink.uses_stdout).map(|(path, _)| path);
        let stdout: Vec<&String> = stdout.collect();
        let uses_stdout = stdout.first().map(|path| (*path).clone());
        problems.extend(check_single_use(&stdout, "stdout", "writes to"));
        if let Some(path) = &uses_stdout
            && document.log_to_stdout
        {
            let message = format!("`{path}` writes messages to stdout, so the log cannot go there");
            problems.push(Problem::at("log_to_stdout", message));
        }
        if !problems.is_empty() {
            return Err(fail(problems));
        }
        let mut config = Self {
            file: file.to_owned(),
            written_keys: keys,
            pipelines,
            stdout_sink: uses_stdout,
            secrets,
            buffer_size: document.buffer_size as usize,
            buffer_bytes: usize::try_from(document.buffer_bytes.bytes()).unwrap_or(usize::MAX),
            overflow: document.overflow,
            shutdown_timeout: document.shutdown_timeout.to_duration(),
            status_interval: non_zero_seconds(document.status_interval),
            status_socket: non_empty_path(document.status_socket.clone()),
            log: LogConfig {
                file: non_empty_path(document.log_file.clone()),
                to_stdout: document.log_to_stdout,
                max_size: document.log_max_size.bytes(),
                max_old_files: document.log_files,
            },
            archive: document.archive.clone().map(|archive| (archive, dirs)),
            resolved: Value::Null,
            text: text.to_owned(),
        };
        config.resolved = config.explicit_form(document);
        Ok(config)
    }

    fn explicit_form(&self, mut document: Document) -> Value {
        let named = document.pipelines.is_some();
        document.pipelines = None;
        // A document of plain keys is always an object; were it not, there is nothing to show.
        let mut resolved = serde_json::to_value(document).unwrap_or_default();
        if let Value::Object(keys) = &mut resolved {
            for key in ["ws_url", "topic", "output_dir", "source", "stages", "sinks", "pipelines"] {
                keys.shift_remove(key);
            }
            let all = self.pipelines.iter();
            if named {
                let all = all.map(|pipeline| (pipeline.name.clone(), pipeline.resolved()));
                keys.shift_insert(0, "pipelines".to_owned(), Value::Object(all.collect()));
            } else if let Some(Value::Object(sections)) = all.map(PipelineConfig::resolved).next() {
                for (index, (key, section)) in sections.into_iter().enumerate() {
                    keys.shift_insert(index, key, section);
                }
            }
        }
        let mut template = self.written_keys.clone();
        if !named {
            let written = |key| self.written_keys.get(key).cloned().unwrap_or_default();
            let source = json!({ "url": written("ws_url"), "topics": [written("topic")] });
            template.entry("source").or_insert(source);
            template.entry("sinks").or_insert(json!([{ "output_dir": written("output_dir") }]));
        }
        env::restore(&mut resolved, &Value::Object(template));
        resolved
    }
}

/// The text of the file.
fn read_text(file: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; `streamer init` writes one to start from, `-config FILE` names another"
        } else {
            ""
        };
        let problem = Problem::at("", format!("cannot read the configuration: {error}{hint}"));
        ConfigError::new(file, None, vec![problem], &Secrets::default())
    })?;
    // A byte order mark is what some editors leave; JSON allows to ignore it (RFC 8259, 8.1).
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The keys of the file.
fn parse_object(file: &Path, text: &str) -> Result<Map<String, Value>, ConfigError> {
    let value =
        serde_json::from_str(text).map_err(|error| ConfigError::from_syntax_error(file, &error))?;
    if let Value::Object(keys) = value {
        return Ok(keys);
    }
    let problem = Problem::at("", "the configuration is an object: { … }");
    Err(ConfigError::new(file, Some(text), vec![problem], &Secrets::default()))
}

/// Says where a key belongs that is none of the file itself.
fn suggest_section(mut problem: Problem, registry: &Registry) -> Problem {
    let key = &problem.path;
    let owners = [
        (registry.sources().type_with_key(key), "source", "`source`"),
        (registry.stages().type_with_key(key), "stage", "one of the `stages`"),
        (registry.sinks().type_with_key(key), "sink", "one of the `sinks`"),
    ];
    let owner = owners.into_iter().find_map(|(name, kind, place)| Some((name?, kind, place)));
    if let Some((name, kind, place)) = owner.filter(|_| problem.message.starts_with("unknown key"))
    {
        let message = format!("unknown key `{key}`; a {name} {kind} has it: write it in {place}");
        problem.message = message;
    }
    problem
}

/// There is one stdin and one stdout for all.
fn check_single_use(paths: &[&String], what: &str, uses: &str) -> Option<Problem> {
    let (first, second) = (paths.first()?, paths.get(1)?);
    Some(Problem::at(second.as_str(), format!("`{first}` {uses} {what}, too; only one can")))
}

fn non_zero_seconds(number: u32) -> Option<Duration> {
    (number > 0).then(|| Duration::from_secs(number.into()))
}

fn non_empty_path(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests;

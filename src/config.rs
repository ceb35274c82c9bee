//! Loading the configuration: from a file to sections that can be built, or to every problem
//! with its place.

mod archive;
mod document;
pub(crate) mod env;
pub(crate) mod error;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub(crate) use self::archive::{ArchiveConfig, Schedule};
use self::document::{Document, as_written, mixed_forms};
use self::error::{ConfigError, Problem, duplicate_keys};
use crate::archive::digest::Hash;
use crate::errors::error_chain;
use crate::pacing::Pacer;
use crate::pipeline::{Named, Overflow, Pipeline};
use crate::plugin::{BuildContext, Run, Sink, Source, Stage};
use crate::registry::{Registry, Section};
use crate::secrets::Secrets;
use crate::stats::Stats;

/// A configuration that was read and checked. Nothing is built yet.
pub(crate) struct Config {
    file: PathBuf,
    text: String,
    keys: Map<String, Value>,
    source: Section<dyn Source>,
    stages: Vec<Section<dyn Stage>>,
    sinks: Vec<Section<dyn Sink>>,
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
    pub(crate) files: u16,
}

impl Config {
    /// Reads the file and gives every section to the type that it names.
    ///
    /// # Errors
    /// Every problem that was found, each with its place.
    pub(crate) fn load(file: &Path, registry: &Registry) -> Result<Self, ConfigError> {
        let text = read(file)?;
        Self::parse(file, &text, registry)
    }

    /// Where a recorder with this configuration answers. Needs no more of the file than that: no
    /// secret, no certificate.
    ///
    /// # Errors
    /// The file cannot be read, or the key is wrong.
    pub(crate) fn status_socket(file: &Path) -> Result<Option<PathBuf>, ConfigError> {
        let text = read(file)?;
        let mut keys = object(file, &text)?;
        let fail = |problems| ConfigError::new(file, Some(&text), problems, &Secrets::default());
        let mut only = Map::new();
        if let Some(key) = keys.remove_entry("status_socket") {
            only.extend([key]);
        }
        let mut only = Value::Object(only);
        env::expand(&mut only, &|name| std::env::var(name).ok()).map_err(fail)?;
        let document = Document::read(only).map_err(|problem| fail(vec![problem]))?;
        Ok(non_empty(document.status_socket))
    }

    /// Where the hours are, and what happens to them. Needs no more of the file than that.
    ///
    /// # Errors
    /// The file cannot be read, or these keys are wrong.
    pub(crate) fn archive(
        file: &Path,
        registry: &Registry,
    ) -> Result<(ArchiveConfig, Vec<PathBuf>), ConfigError> {
        let text = read(file)?;
        let keys = object(file, &text)?;
        let fail = |problems| ConfigError::new(file, Some(&text), problems, &Secrets::default());
        let needed = |(key, _): &(&String, &Value)| {
            matches!(key.as_str(), "output_dir" | "sinks" | "archive")
        };
        let only = keys.iter().filter(needed).map(|(key, value)| (key.clone(), value.clone()));
        let mut only = Value::Object(only.collect());
        let secrets = env::expand(&mut only, &|name| std::env::var(name).ok()).map_err(fail)?;
        let secrets = Secrets::new(secrets);
        let fail = |problems| ConfigError::new(file, Some(&text), problems, &secrets);
        let document = Document::read(only).map_err(|problem| fail(vec![problem]))?;
        let mut problems = document.check(&keys);
        let (_, _, sinks) = document.sections();
        let mut found = |problem| problems.push(as_written(problem, &keys));
        let sinks: Vec<_> = numbered("sinks", sinks)
            .filter_map(|(path, sink)| registry.sinks().parse(sink, &path).map_err(&mut found).ok())
            .collect();
        let dirs = archive_dirs(&sinks);
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
        let keys = object(file, text)?;
        let mut problems = duplicate_keys(text);
        problems.extend(mixed_forms(&keys));
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
        let document = match Document::read(expanded) {
            Ok(document) => document,
            Err(problem) => {
                problems.push(problem);
                return Err(fail(problems));
            }
        };
        problems.extend(document.check(&keys));
        let (source, stages, sinks) = document.sections();
        let mut found = |problem| problems.push(as_written(problem, &keys));
        let source = registry.sources().parse(source, "source").map_err(&mut found).ok();
        let stages = numbered("stages", stages)
            .filter_map(|(path, stage)| {
                registry.stages().parse(stage, &path).map_err(&mut found).ok()
            })
            .collect();
        let sinks: Vec<_> = numbered("sinks", sinks)
            .filter_map(|(path, sink)| registry.sinks().parse(sink, &path).map_err(&mut found).ok())
            .collect();
        let dirs = archive_dirs(&sinks);
        if document.archive.is_some() && dirs.is_empty() && problems.is_empty() {
            problems.push(Problem::at(
                "archive",
                "is for sinks that write hours, and none of these does",
            ));
        }
        let (Some(source), true) = (source, problems.is_empty()) else {
            return Err(fail(problems));
        };
        let mut config = Self {
            file: file.to_owned(),
            keys,
            source,
            stages,
            sinks,
            secrets,
            buffer_size: document.buffer_size as usize,
            buffer_bytes: usize::try_from(document.buffer_bytes.bytes()).unwrap_or(usize::MAX),
            overflow: document.overflow,
            shutdown_timeout: document.shutdown_timeout.duration(),
            status_interval: seconds(document.status_interval),
            status_socket: non_empty(document.status_socket.clone()),
            log: LogConfig {
                file: non_empty(document.log_file.clone()),
                to_stdout: document.log_to_stdout,
                max_size: document.log_max_size.bytes(),
                files: document.log_files,
            },
            archive: document.archive.clone().map(|archive| (archive, dirs)),
            resolved: Value::Null,
            text: text.to_owned(),
        };
        config.resolved = config.explicit_form(document);
        Ok(config)
    }

    fn explicit_form(&self, mut document: Document) -> Value {
        document.source = Some(self.source.resolved.clone());
        document.stages = Some(self.stages.iter().map(|stage| stage.resolved.clone()).collect());
        document.sinks = Some(self.sinks.iter().map(|sink| sink.resolved.clone()).collect());
        // A document of plain keys is always an object; were it not, there is nothing to show.
        let mut resolved = serde_json::to_value(document).unwrap_or_default();
        if let Value::Object(keys) = &mut resolved {
            for shorthand in ["ws_url", "topic", "output_dir"] {
                keys.remove(shorthand);
            }
        }
        let mut template = self.keys.clone();
        let written = |key| self.keys.get(key).cloned().unwrap_or_default();
        let source = json!({ "url": written("ws_url"), "topics": [written("topic")] });
        template.entry("source").or_insert(source);
        template.entry("sinks").or_insert(json!([{ "output_dir": written("output_dir") }]));
        env::restore(&mut resolved, &Value::Object(template));
        resolved
    }

    /// Makes the pipeline. Touches neither network nor disk but to read what the keys name.
    ///
    /// # Errors
    /// What a plugin found wrong with its section, with its place.
    pub(crate) fn build(
        self,
        stats: &Arc<Stats>,
        pacer: &Arc<Pacer>,
    ) -> Result<Pipeline, ConfigError> {
        let Self { file, text, keys, source, stages, sinks, .. } = self;
        let mut run = Run {
            id: format!("{:016x}", fastrand::u64(..)),
            config: digest(&self.resolved),
            ..Run::default()
        };
        let context = BuildContext::new(source.topics.clone(), Arc::clone(stats), self.buffer_size)
            .with_pacer(Arc::clone(pacer))
            .with_secrets(self.secrets.clone());
        let fail = |path: &str, error: crate::BoxError| {
            let problem = as_written(Problem::at(path, error_chain(&*error)), &keys);
            ConfigError::new(&file, Some(&text), vec![problem], &self.secrets)
        };
        let built_source = source.build(&context).map_err(|e| fail("source", e))?;
        run.source = built_source.endpoint();
        let context = context.with_run(run);
        let mut pipeline = Pipeline {
            source: built_source,
            stages: Vec::new(),
            sinks: Vec::new(),
            max_messages: self.buffer_size,
            max_bytes: self.buffer_bytes,
            overflow: self.overflow,
            shutdown_timeout: self.shutdown_timeout,
        };
        for (path, stage) in numbered("stages", stages) {
            let name = format!("{path} ({})", stage.type_name);
            let plugin = stage.build(&context).map_err(|e| fail(&path, e))?;
            pipeline.stages.push(Named { name, plugin });
        }
        for (path, sink) in numbered("sinks", sinks) {
            let name = format!("{path} ({})", sink.type_name);
            let plugin = sink.build(&context).map_err(|e| fail(&path, e))?;
            pipeline.sinks.push(Named { name, plugin });
        }
        Ok(pipeline)
    }
}

/// The SHA-256 of a configuration, in hexadecimal digits.
fn digest(resolved: &Value) -> String {
    Hash::of(resolved.to_string().as_bytes()).to_string()
}

/// Where these sinks write hours.
fn archive_dirs(sinks: &[Section<dyn Sink>]) -> Vec<PathBuf> {
    sinks.iter().filter_map(|sink| sink.archive_dir.clone()).collect()
}

/// The text of the file.
fn read(file: &Path) -> Result<String, ConfigError> {
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
fn object(file: &Path, text: &str) -> Result<Map<String, Value>, ConfigError> {
    let value = serde_json::from_str(text).map_err(|error| ConfigError::syntax(file, &error))?;
    if let Value::Object(keys) = value {
        return Ok(keys);
    }
    let problem = Problem::at("", "the configuration is an object: { … }");
    Err(ConfigError::new(file, Some(text), vec![problem], &Secrets::default()))
}

/// The items with their paths: `stages[0]`, `stages[1]`, …
fn numbered<T>(section: &str, items: Vec<T>) -> impl Iterator<Item = (String, T)> {
    items.into_iter().enumerate().map(move |(index, item)| (format!("{section}[{index}]"), item))
}

fn seconds(number: u32) -> Option<Duration> {
    (number > 0).then(|| Duration::from_secs(number.into()))
}

fn non_empty(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests;

//! Loads a configuration file, and reports every problem with its position.
//!
//! Loading checks the keys and gives each plugin section to the plugin that it names. Plugins are
//! built later, by [`PipelineBuilder`].

mod archive_config;
mod archive_location;
mod config_diff;
mod config_text;
mod document;
mod explicit_form;
mod located_section;
mod log_config;
mod log_format;
mod log_level;
mod on_event_config;
mod pipeline_builder;
mod pipeline_config;
mod recorder_settings;
mod schedule;
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) use self::archive_config::ArchiveConfig;
pub(crate) use self::archive_location::ArchiveLocation;
pub(crate) use self::config_diff::{ConfigDiff, PipelineDiff, SectionsDiff, merge_pipelines};
use self::config_text::ConfigText;
use self::document::{Document, check_mixed_forms};
use self::explicit_form::explicit_form;
pub(crate) use self::log_config::LogConfig;
pub(crate) use self::log_format::LogFormat;
pub(crate) use self::log_level::LogLevel;
pub(crate) use self::on_event_config::OnEventConfig;
use self::pipeline_builder::PipelineBuilder;
pub(crate) use self::pipeline_builder::{BuildPlace, BuiltPipeline, FormerPipeline};
use self::pipeline_config::{PipelineConfig, check_archive_dirs, parse_sinks, retain_sinks_only};
pub(crate) use self::recorder_settings::RecorderSettings;
pub(crate) use self::schedule::Schedule;
pub use self::schema::config_schema;
use crate::archive::sha256_hash::Sha256Hash;
use crate::base::config_error::{ConfigError, duplicate_keys};
use crate::base::exposure::exposure_warning;
use crate::base::problem::Problem;
use crate::base::secrets::Secrets;
use crate::plugin::PluginKind;
use crate::registry::Registry;

/// A configuration that was read and checked; no plugin is built yet.
pub(crate) struct Config {
    pub(crate) file: PathBuf,
    pub(crate) settings: RecorderSettings,
    pub(crate) pipelines: PipelineBuilder,
    /// Path of the sink section that writes messages to stdout, such as `sinks[0]`.
    pub(crate) stdout_sink: Option<String>,
    /// Explicit form of the configuration: every section is written out and every default filled
    /// in. Strings with `${NAME}` are as in the file, so the value contains no secret.
    pub(crate) resolved: Value,
    /// SHA-256 of the text of the file.
    pub(crate) text_hash: Sha256Hash,
}

/// Returns the SHA-256 of a resolved form, by which journals and the status name it.
pub(crate) fn config_digest(resolved: &Value) -> String {
    Sha256Hash::digest(resolved.to_string().as_bytes()).to_string()
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Every problem that was found, each with its position.
    pub(crate) fn load(file: &Path, registry: &Registry) -> Result<Self, ConfigError> {
        Self::from_text(ConfigText::read(file)?, registry)
    }

    /// Checks `text` as the content of `file`.
    ///
    /// # Errors
    /// Every problem that was found, each with its position.
    pub(crate) fn parse(file: &Path, text: &str, registry: &Registry) -> Result<Self, ConfigError> {
        Self::from_text(ConfigText::new(file, text), registry)
    }

    /// Reads the path of the status socket and ignores every other key: the caller needs no
    /// certificates, and no secrets but those of the path, which are returned with it.
    ///
    /// # Errors
    /// The file cannot be read, or the key has a problem.
    pub(crate) fn load_status_socket(
        file: &Path,
    ) -> Result<(Option<PathBuf>, Secrets), ConfigError> {
        let text = ConfigText::read(file)?;
        let mut keys = text.parse_object()?;
        let entry = keys.remove_entry("status_socket");
        let mut needed = Value::Object(entry.into_iter().collect());
        text.expand_env(&mut needed).map_err(|problems| text.error(problems))?;
        let document = Document::from_value(needed).map_err(|problem| text.error(vec![problem]))?;
        Ok((non_empty_path(document.status_socket), text.secrets))
    }

    /// Reads the section `on_event` and ignores every other key.
    ///
    /// # Errors
    /// The file cannot be read, or the section has problems.
    pub(crate) fn load_on_event(file: &Path) -> Result<Option<OnEventConfig>, ConfigError> {
        let text = ConfigText::read(file)?;
        let mut keys = text.parse_object()?;
        let entry = keys.remove_entry("on_event");
        let mut needed = Value::Object(entry.into_iter().collect());
        text.expand_env(&mut needed).map_err(|problems| text.error(problems))?;
        let document = Document::from_value(needed).map_err(|problem| text.error(vec![problem]))?;
        let problems = document.on_event.iter().flat_map(OnEventConfig::check).collect::<Vec<_>>();
        if problems.is_empty() { Ok(document.on_event) } else { Err(text.error(problems)) }
    }

    /// Reads the directories of the archive and the section `archive`, and ignores every other
    /// key.
    ///
    /// # Errors
    /// The file cannot be read, these keys have problems, or no sink writes hours.
    pub(crate) fn load_archive(
        file: &Path,
        registry: &Registry,
    ) -> Result<ArchiveLocation, ConfigError> {
        let text = ConfigText::read(file)?;
        let keys = text.parse_object()?;
        let is_needed = |(key, _): &(&String, &Value)| {
            matches!(key.as_str(), "output_dir" | "sinks" | "pipelines" | "archive")
        };
        let needed = keys.iter().filter(is_needed).map(|(key, value)| (key.clone(), value.clone()));
        let mut needed = Value::Object(needed.collect());
        retain_sinks_only(&mut needed);
        text.expand_env(&mut needed).map_err(|problems| text.error(problems))?;
        let document = Document::from_value(needed).map_err(|problem| text.error(vec![problem]))?;
        let mut problems = document.check(&keys);
        let sinks = parse_sinks(&document, &keys, registry, &mut problems);
        let dirs = check_archive_dirs(&sinks, &mut problems);
        if dirs.is_empty() && problems.is_empty() {
            problems.push(Problem::at("sinks", "no sink writes hours; a `jsonl` sink does"));
        }
        if !problems.is_empty() {
            return Err(text.error(problems));
        }
        Ok(ArchiveLocation { dirs, config: document.archive.unwrap_or_default() })
    }

    fn from_text(text: ConfigText, registry: &Registry) -> Result<Self, ConfigError> {
        let keys = text.parse_object()?;
        let mut problems = duplicate_keys(text.as_str());
        problems.extend(check_mixed_forms(&keys));
        let mut expanded = Value::Object(keys.clone());
        if let Err(unset) = text.expand_env(&mut expanded) {
            problems.extend(unset);
            return Err(text.error(problems));
        }
        let document = match Document::from_value(expanded) {
            Ok(document) => document,
            Err(problem) => {
                problems.push(suggest_section(problem, registry));
                return Err(text.error(problems));
            }
        };
        problems.extend(document.check(&keys));
        let pipelines = PipelineConfig::parse_all(&document, &keys, registry, &mut problems);
        let dirs = check_archive(&document, &pipelines, &mut problems);
        let stdout_sink = check_standard_streams(&document, &pipelines, &mut problems);
        let resolved = explicit_form(&document, &pipelines, &keys);
        let resolved = resolved.unwrap_or_else(|problem| {
            problems.push(problem);
            Value::Null
        });
        if !problems.is_empty() {
            return Err(text.error(problems));
        }
        Ok(Self {
            file: text.file.clone(),
            text_hash: text.hash,
            settings: settings(&document, dirs, &text, &keys),
            pipelines: PipelineBuilder::new(text, keys, &document, pipelines),
            stdout_sink,
            resolved,
        })
    }
}

/// Returns the settings that all pipelines share. `dirs` are the directories of the archive.
fn settings(
    document: &Document,
    dirs: Vec<PathBuf>,
    text: &ConfigText,
    keys: &Map<String, Value>,
) -> RecorderSettings {
    RecorderSettings {
        secrets: text.secrets.clone(),
        warnings: exposure_warning(&text.file, &Value::Object(keys.clone())).into_iter().collect(),
        shutdown_timeout: document.shutdown_timeout.to_duration(),
        status_interval: non_zero_seconds(document.status_interval),
        status_socket: non_empty_path(document.status_socket.clone()),
        log: LogConfig {
            file: non_empty_path(document.log_file.clone()),
            to_stdout: document.log_to_stdout,
            format: document.log_format,
            level: document.log_level,
            max_size: document.log_max_size.bytes(),
            max_old_files: document.log_files,
        },
        on_event: document.on_event.clone(),
        archive: document.archive.clone().map(|config| ArchiveLocation { dirs, config }),
    }
}

/// Returns the directories in which sinks write hours. The section `archive` needs at least one.
fn check_archive(
    document: &Document,
    pipelines: &[PipelineConfig],
    problems: &mut Vec<Problem>,
) -> Vec<PathBuf> {
    let sinks = pipelines.iter().flat_map(PipelineConfig::sink_dirs);
    let dirs = check_archive_dirs(&sinks.collect::<Vec<_>>(), problems);
    if document.archive.is_some() && dirs.is_empty() && problems.is_empty() {
        let message = "needs a sink that writes hours, such as `jsonl`, and there is none";
        problems.push(Problem::at("archive", message));
    }
    dirs
}

/// Checks that at most one source reads stdin and at most one sink or the log writes to stdout,
/// and returns the path of that sink.
fn check_standard_streams(
    document: &Document,
    pipelines: &[PipelineConfig],
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let sources = pipelines.iter().map(|pipeline| &pipeline.source);
    let stdin =
        sources.filter(|source| source.section.properties.uses_stdin).map(|source| &source.path);
    problems.extend(check_single_use(&stdin.collect::<Vec<_>>(), "reads stdin"));
    let sinks = pipelines.iter().flat_map(|pipeline| &pipeline.sinks);
    let stdout = sinks.filter(|sink| sink.section.properties.uses_stdout).map(|sink| &sink.path);
    let stdout: Vec<&String> = stdout.collect();
    problems.extend(check_single_use(&stdout, "writes to stdout"));
    let path = (*stdout.first()?).clone();
    if document.log_to_stdout {
        let message = format!("`{path}` writes messages to stdout, so the log cannot go there");
        problems.push(Problem::at("log_to_stdout", message));
    }
    Some(path)
}

/// Returns a problem when more than one section uses a stream of which the process has one.
fn check_single_use(paths: &[&String], use_of_stream: &str) -> Option<Problem> {
    let first = paths.first()?;
    let second = paths.get(1)?;
    let message = format!("`{first}` already {use_of_stream}; only one section can");
    Some(Problem::at(second.as_str(), message))
}

/// Adds to an unknown top-level key the section that it belongs to, if a plugin has such a key.
fn suggest_section(mut problem: Problem, registry: &Registry) -> Problem {
    let key = &problem.path;
    let owners = [
        (registry.sources().type_with_key(key), PluginKind::Source, "`source`"),
        (registry.stages().type_with_key(key), PluginKind::Stage, "one of the `stages`"),
        (registry.sinks().type_with_key(key), PluginKind::Sink, "one of the `sinks`"),
    ];
    let owner = owners.into_iter().find_map(|(name, kind, place)| Some((name?, kind, place)));
    if let Some((name, kind, place)) = owner.filter(|_| problem.message.starts_with("unknown key"))
    {
        problem.message =
            format!("unknown key `{key}`; it belongs to the {kind} `{name}`: write it in {place}");
    }
    problem
}

fn non_zero_seconds(number: u32) -> Option<Duration> {
    (number > 0).then(|| Duration::from_secs(number.into()))
}

fn non_empty_path(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests;

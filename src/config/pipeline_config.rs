//! The pipelines of a configuration: one without a name, or several with names.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use super::document::{Document, NO_SINK, SECTION_KEYS, WrittenSections, with_shorthand_path};
use super::located_section::LocatedSection;
use crate::base::problem::Problem;
use crate::base::suggest::did_you_mean;
use crate::plugin::{Sink, Stage};
use crate::registry::{PluginTypes, Registry, Sources};

/// The name of the pipeline in a configuration without `pipelines`.
pub(super) const DEFAULT_PIPELINE_NAME: &str = "main";
/// The names that pipelines may have, as a regular expression for the schema.
pub(super) const PIPELINE_NAME_PATTERN: &str = "^[A-Za-z0-9_-]+$";

/// A pipeline whose sections were parsed; its plugins are not built yet.
pub(super) struct PipelineConfig {
    pub(super) name: String,
    pub(super) source: LocatedSection<Sources>,
    pub(super) stages: Vec<LocatedSection<Box<dyn Stage>>>,
    pub(super) sinks: Vec<LocatedSection<Box<dyn Sink>>>,
}

/// A sink section's path, and the directory in which the sink writes hours.
pub(super) struct SinkDir {
    path: String,
    pub(super) dir: Option<PathBuf>,
}

/// The sections of a pipeline as the file has them.
struct PipelineSections {
    name: String,
    /// The prefix of the sections' paths: empty, or `pipelines.NAME.`.
    prefix: String,
    sections: WrittenSections,
}

impl PipelineConfig {
    /// Parses every section with the plugin that it names. Problems are appended to `problems`; a
    /// pipeline whose source has one is left out.
    pub(super) fn parse_all(
        document: &Document,
        keys: &Map<String, Value>,
        registry: &Registry,
        problems: &mut Vec<Problem>,
    ) -> Vec<Self> {
        let mut parsed = Vec::new();
        for PipelineSections { name, prefix, sections } in all_sections(document, problems) {
            let path = format!("{prefix}source");
            let source = match registry.sources().parse(sections.source, &path) {
                Ok(section) => Some(LocatedSection { path, section }),
                Err(problem) => {
                    problems.push(with_shorthand_path(problem, keys));
                    None
                }
            };
            let path = format!("{prefix}stages");
            let stages = parse_list(registry.stages(), &path, sections.stages, keys, problems);
            let path = format!("{prefix}sinks");
            let sinks = parse_list(registry.sinks(), &path, sections.sinks, keys, problems);
            if !sinks.is_empty() && sinks.iter().all(|sink| !sink.section.common.required) {
                let message = "no sink is required, so no received message has to be stored; make one required";
                problems.push(Problem::at(path, message));
            }
            parsed.extend(source.map(|source| Self { name, source, stages, sinks }));
        }
        parsed
    }

    /// Returns the sections with every default filled in.
    pub(super) fn resolved(&self) -> Value {
        let stages = self.stages.iter().map(|stage| stage.section.resolved.clone());
        let sinks = self.sinks.iter().map(|sink| sink.section.resolved.clone());
        json!({
            "source": self.source.section.resolved,
            "stages": stages.collect::<Vec<_>>(),
            "sinks": sinks.collect::<Vec<_>>(),
        })
    }

    /// Returns the directory of each sink.
    pub(super) fn sink_dirs(&self) -> impl Iterator<Item = SinkDir> {
        self.sinks.iter().map(SinkDir::of)
    }
}

impl SinkDir {
    fn of(sink: &LocatedSection<Box<dyn Sink>>) -> Self {
        Self { path: sink.path.clone(), dir: sink.section.properties.archive_dir.clone() }
    }
}

/// Parses the sinks of every pipeline and nothing else, and returns their directories.
pub(super) fn parse_sinks(
    document: &Document,
    keys: &Map<String, Value>,
    registry: &Registry,
    problems: &mut Vec<Problem>,
) -> Vec<SinkDir> {
    let mut dirs = Vec::new();
    for PipelineSections { prefix, sections, .. } in all_sections(document, problems) {
        let path = format!("{prefix}sinks");
        let sinks = parse_list(registry.sinks(), &path, sections.sinks, keys, problems);
        dirs.extend(sinks.iter().map(SinkDir::of));
    }
    dirs
}

/// Parses the items of the list at `path`; an item with a problem is left out.
fn parse_list<R>(
    types: &PluginTypes<R>,
    path: &str,
    items: Vec<Value>,
    keys: &Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Vec<LocatedSection<R>> {
    let mut parsed = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        match types.parse(item, &path) {
            Ok(section) => parsed.push(LocatedSection { path, section }),
            Err(problem) => problems.push(with_shorthand_path(problem, keys)),
        }
    }
    parsed
}

/// Returns the directories in which sinks write hours. Two sinks must not share a directory.
pub(super) fn check_archive_dirs(sinks: &[SinkDir], problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    // `./output` and `output/` are the same directory.
    let is_named = |step: &Component<'_>| *step != Component::CurDir;
    let normalize = |dir: &Path| dir.components().filter(is_named).collect::<PathBuf>();
    let mut dirs: Vec<(&str, &Path)> = Vec::new();
    for SinkDir { path, dir } in sinks {
        let Some(dir) = dir else { continue };
        match dirs.iter().find(|(_, other)| normalize(other) == normalize(dir)) {
            Some((other, _)) => {
                let message = format!(
                    "`{}` is already the directory of `{other}`; give each sink a directory of its own",
                    dir.display()
                );
                problems.push(Problem::at(format!("{path}.output_dir"), message));
            }
            None => dirs.push((path, dir)),
        }
    }
    dirs.into_iter().map(|(_, dir)| dir.to_owned()).collect()
}

/// Removes every section but the sinks from each pipeline, so that problems elsewhere do not
/// matter.
pub(super) fn retain_sinks_only(document: &mut Value) {
    let Some(Value::Object(pipelines)) = document.get_mut("pipelines") else { return };
    for pipeline in pipelines.values_mut() {
        // A pipeline that is no object is reported when it is parsed.
        if let Value::Object(sections) = pipeline {
            sections.retain(|key, _| key == "sinks");
            sections.insert("source".to_owned(), json!({}));
        }
    }
}

/// Returns the sections of every pipeline, and makes those that shorthand keys stand for.
fn all_sections(document: &Document, problems: &mut Vec<Problem>) -> Vec<PipelineSections> {
    let Some(pipelines) = &document.pipelines else {
        return vec![PipelineSections {
            name: DEFAULT_PIPELINE_NAME.to_owned(),
            prefix: String::new(),
            sections: document.sections(),
        }];
    };
    let mut all = Vec::new();
    for (name, pipeline) in pipelines {
        match parse_named_sections(name, pipeline) {
            Ok(sections) => all.push(sections),
            Err(found) => problems.extend(found),
        }
    }
    all
}

/// Returns whether `name` consists of the characters that [`PIPELINE_NAME_PATTERN`] allows.
fn is_pipeline_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

fn parse_named_sections(name: &str, pipeline: &Value) -> Result<PipelineSections, Vec<Problem>> {
    let path = &format!("pipelines.{name}");
    let mut problems = Vec::new();
    if !is_pipeline_name(name) {
        let message = "the name of a pipeline consists of letters, digits, `_` and `-`";
        problems.push(Problem::at(path.as_str(), message));
    }
    let Value::Object(keys) = pipeline else {
        problems
            .push(Problem::at(path.as_str(), "a pipeline is an object with `source` and `sinks`"));
        return Err(problems);
    };
    for key in keys.keys() {
        if !SECTION_KEYS.contains(&key.as_str()) {
            let hint = did_you_mean(key, SECTION_KEYS);
            let known = SECTION_KEYS.join(", ");
            let message = format!("unknown key `{key}`{hint}; known keys: {known}");
            problems.push(Problem::at(format!("{path}.{key}"), message));
        }
    }
    let mut list = |key: &str| match keys.get(key) {
        None => None,
        Some(Value::Array(items)) => Some(items.clone()),
        Some(_) => {
            problems.push(Problem::at(format!("{path}.{key}"), "is a list: [ … ]"));
            None
        }
    };
    let stages = list("stages").unwrap_or_default();
    let sinks = list("sinks").unwrap_or_default();
    if sinks.is_empty() && problems.is_empty() {
        let (path, message) = if keys.contains_key("sinks") {
            (format!("{path}.sinks"), NO_SINK)
        } else {
            (path.clone(), "the key `sinks` is missing: a pipeline needs at least one sink")
        };
        problems.push(Problem::at(path, message));
    }
    let Some(source) = keys.get("source").cloned() else {
        problems.push(Problem::at(path.as_str(), "the key `source` is missing"));
        return Err(problems);
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(PipelineSections {
        name: name.to_owned(),
        prefix: format!("{path}."),
        sections: WrittenSections { source, stages, sinks },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_and_the_check_allow_the_same_pipeline_names() {
        // The pattern is simple enough to be read as a set of characters.
        assert_eq!(PIPELINE_NAME_PATTERN, "^[A-Za-z0-9_-]+$");
        for allowed in ["a", "Z9", "_-"] {
            assert!(is_pipeline_name(allowed), "{allowed}");
        }
        for refused in ["", "a b", "a.b", "ä"] {
            assert!(!is_pipeline_name(refused), "{refused}");
        }
    }
}

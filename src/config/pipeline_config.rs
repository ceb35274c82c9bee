//! The pipelines of a configuration: one, or several with names.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use super::document::{Document, with_shorthand_path};
use crate::base::config_error::Problem;
use crate::plugin::{Sink, Stage};
use crate::registry::{Registry, Section, Sources};

/// The name of the pipeline in a configuration without `pipelines`.
const DEFAULT_PIPELINE_NAME: &str = "main";

/// A pipeline that was read and is not built; each section with its path in the file.
pub(super) struct PipelineConfig {
    pub(super) name: String,
    pub(super) source: (String, Section<Sources>),
    pub(super) stages: Vec<(String, Section<Box<dyn Stage>>)>,
    pub(super) sinks: Vec<(String, Section<Box<dyn Sink>>)>,
}

/// The sections of a pipeline as they are written.
pub(super) struct PipelineSections {
    name: String,
    /// What stands before the paths of its sections: nothing, or `pipelines.NAME.`.
    prefix: String,
    source: Value,
    stages: Vec<Value>,
    sinks: Vec<Value>,
}

impl PipelineConfig {
    /// Gives every section to the type that it names.
    pub(super) fn parse_all(
        document: &Document,
        keys: &Map<String, Value>,
        registry: &Registry,
        problems: &mut Vec<Problem>,
    ) -> Vec<Self> {
        let all = all_sections(document, problems);
        let parsed = all.into_iter().filter_map(|sections| {
            let PipelineSections { name, prefix, source, stages, sinks } = sections;
            let mut found = |problem| problems.push(with_shorthand_path(problem, keys));
            let path = format!("{prefix}source");
            let source = registry.sources().parse(source, &path).map_err(&mut found).ok();
            let stages =
                with_paths(format!("{prefix}stages"), stages).filter_map(|(path, stage)| {
                    let stage = registry.stages().parse(stage, &path).map_err(&mut found).ok()?;
                    Some((path, stage))
                });
            let stages = stages.collect();
            let sinks = with_paths(format!("{prefix}sinks"), sinks).filter_map(|(path, sink)| {
                let sink = registry.sinks().parse(sink, &path).map_err(&mut found).ok()?;
                Some((path, sink))
            });
            let sinks: Vec<(String, Section<Box<dyn Sink>>)> = sinks.collect();
            if !sinks.is_empty() && sinks.iter().all(|(_, sink)| !sink.common.required) {
                let message =
                    "none of them is required: then nothing that is received need be kept";
                problems.push(Problem::at(format!("{prefix}sinks"), message));
            }
            Some(Self { name, source: (path, source?), stages, sinks })
        });
        parsed.collect()
    }

    /// The sections with every default filled in.
    pub(super) fn resolved(&self) -> Value {
        let stages = self.stages.iter().map(|(_, stage)| stage.resolved.clone());
        let sinks = self.sinks.iter().map(|(_, sink)| sink.resolved.clone());
        json!({
            "source": self.source.1.resolved,
            "stages": stages.collect::<Vec<_>>(),
            "sinks": sinks.collect::<Vec<_>>(),
        })
    }
}

/// The sinks alone, as `(path, directory of hours)`.
pub(super) fn parse_sinks(
    document: &Document,
    keys: &Map<String, Value>,
    registry: &Registry,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Option<PathBuf>)> {
    let mut parsed = Vec::new();
    for PipelineSections { prefix, sinks, .. } in all_sections(document, problems) {
        for (path, sink) in with_paths(format!("{prefix}sinks"), sinks) {
            match registry.sinks().parse(sink, &path) {
                Ok(sink) => parsed.push((path, sink.archive_dir)),
                Err(problem) => problems.push(with_shorthand_path(problem, keys)),
            }
        }
    }
    parsed
}

/// Where these sinks write hours. Each must have a directory of its own.
pub(super) fn check_archive_dirs<P: AsRef<str>, D: AsRef<Path>>(
    sinks: impl IntoIterator<Item = (P, Option<D>)>,
    problems: &mut Vec<Problem>,
) -> Vec<PathBuf> {
    let mut dirs: Vec<(String, PathBuf)> = Vec::new();
    for (path, dir) in sinks {
        let (path, Some(dir)) = (path.as_ref(), dir) else { continue };
        // `./output` and `output/` are the same.
        let named = |step: &Component<'_>| *step != Component::CurDir;
        let plain = |dir: &Path| dir.components().filter(named).collect::<PathBuf>();
        let (dir, written) = (plain(dir.as_ref()), dir.as_ref().to_owned());
        match dirs.iter().find(|(_, other)| plain(other) == dir) {
            Some((other, _)) => {
                let message = format!(
                    "`{}` is the directory of `{other}`, too; give each sink one of its own",
                    written.display()
                );
                problems.push(Problem::at(format!("{path}.output_dir"), message));
            }
            None => dirs.push((path.to_owned(), written)),
        }
    }
    dirs.into_iter().map(|(_, dir)| dir).collect()
}

/// Leaves of every pipeline nothing but its sinks, so that nothing else need be right.
pub(super) fn retain_sinks_only(document: &mut Value) {
    let Some(Value::Object(pipelines)) = document.get_mut("pipelines") else { return };
    for pipeline in pipelines.values_mut() {
        if let Value::Object(sections) = pipeline {
            sections.retain(|key, _| key == "sinks");
            sections.insert("source".to_owned(), json!({}));
        }
    }
}

/// The sections of every pipeline, made from the shorthand where they are not written out.
fn all_sections(document: &Document, problems: &mut Vec<Problem>) -> Vec<PipelineSections> {
    let Some(pipelines) = &document.pipelines else {
        let (source, stages, sinks) = document.sections();
        let (name, prefix) = (DEFAULT_PIPELINE_NAME.to_owned(), String::new());
        return vec![PipelineSections { name, prefix, source, stages, sinks }];
    };
    let mut all = Vec::new();
    for (name, pipeline) in pipelines {
        let path = format!("pipelines.{name}");
        match parse_named_sections(name, pipeline, &path) {
            Ok(sections) => all.push(sections),
            Err(found) => problems.extend(found),
        }
    }
    all
}

fn parse_named_sections(
    name: &str,
    pipeline: &Value,
    path: &str,
) -> Result<PipelineSections, Vec<Problem>> {
    let mut problems = Vec::new();
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || !name.chars().all(good) {
        let message = "a pipeline's name is made of letters, digits, `_` and `-`";
        problems.push(Problem::at(path, message));
    }
    let Value::Object(keys) = pipeline else {
        problems.push(Problem::at(path, "a pipeline is an object with `source` and `sinks`"));
        return Err(problems);
    };
    for key in keys.keys() {
        if !["source", "stages", "sinks"].contains(&key.as_str()) {
            let hint = crate::base::suggest::did_you_mean(key, ["source", "stages", "sinks"]);
            let message = format!("unknown key `{key}`{hint}; known keys: source, stages, sinks");
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
            (format!("{path}.sinks"), "is empty: messages must go somewhere")
        } else {
            (path.to_owned(), "the key `sinks` is missing: messages must go somewhere")
        };
        problems.push(Problem::at(path, message));
    }
    let Some(source) = keys.get("source").cloned() else {
        problems.push(Problem::at(path, "the key `source` is missing"));
        return Err(problems);
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(PipelineSections {
        name: name.to_owned(),
        prefix: format!("{path}."),
        source,
        stages,
        sinks,
    })
}

/// The items with their paths: `stages[0]`, `stages[1]`, …
fn with_paths<T>(section: String, items: Vec<T>) -> impl Iterator<Item = (String, T)> {
    items.into_iter().enumerate().map(move |(index, item)| (format!("{section}[{index}]"), item))
}

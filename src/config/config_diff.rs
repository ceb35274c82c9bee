//! The difference between two configurations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::document::SECTION_KEYS;
use super::pipeline_config::DEFAULT_PIPELINE_NAME;

/// The key of a source section that has its topics.
const TOPICS_KEY: &str = "topics";

/// The difference between the resolved forms of two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigDiff {
    /// Pipelines that differ, by name. All others are unchanged.
    pub(crate) pipelines: BTreeMap<String, PipelineDiff>,
    /// Top-level keys that differ, apart from the pipelines.
    pub(crate) settings: Vec<String>,
}

/// The difference between two configurations of one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PipelineDiff {
    Added,
    Removed,
    Changed(SectionsDiff),
}

/// The difference between the sections of two configurations of one pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SectionsDiff {
    /// Keys of the source that differ.
    pub(crate) source_keys: Vec<String>,
    /// Set if the stages differ.
    pub(crate) stages: bool,
    /// Positions of the sinks that differ.
    pub(crate) sinks: BTreeSet<usize>,
}

impl ConfigDiff {
    /// Returns the difference between two resolved forms.
    pub(crate) fn between(old: &Value, new: &Value) -> Self {
        let old_pipelines = pipelines(old);
        let new_pipelines = pipelines(new);
        let names: BTreeSet<&String> = old_pipelines.keys().chain(new_pipelines.keys()).collect();
        let mut differing = BTreeMap::new();
        for name in names {
            let diff = match (old_pipelines.get(name), new_pipelines.get(name)) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(old), Some(new)) => PipelineDiff::Changed(SectionsDiff::between(old, new)),
                (None, _) => PipelineDiff::Added,
                (_, None) => PipelineDiff::Removed,
            };
            differing.insert(name.clone(), diff);
        }
        let is_setting = |key: &String| key != "pipelines" && !SECTION_KEYS.contains(&key.as_str());
        let settings = differing_keys(old, new).into_iter().filter(is_setting).collect();
        Self { pipelines: differing, settings }
    }

    /// Returns whether nothing differs.
    pub(crate) fn is_empty(&self) -> bool {
        self.pipelines.is_empty() && self.settings.is_empty()
    }
}

impl SectionsDiff {
    fn between(old: &Value, new: &Value) -> Self {
        let source = |pipeline: &Value| pipeline.get("source").cloned().unwrap_or_default();
        let sinks = |pipeline: &Value| {
            pipeline.get("sinks").and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let old_sinks = sinks(old);
        let new_sinks = sinks(new);
        let all = 0..old_sinks.len().max(new_sinks.len());
        Self {
            source_keys: differing_keys(&source(old), &source(new)),
            stages: old.get("stages") != new.get("stages"),
            sinks: all.filter(|at| old_sinks.get(*at) != new_sinks.get(*at)).collect(),
        }
    }

    /// Returns whether nothing of the source differs but its topics.
    pub(crate) fn is_topics_only(&self) -> bool {
        self.source_keys.iter().all(|key| key == TOPICS_KEY)
    }
}

/// Returns the resolved form of what runs after some of the pipelines of `new` have taken the place
/// of those of `old`.
pub(crate) fn merge_pipelines(old: &Value, new: &Value, taken: &BTreeSet<String>) -> Value {
    let diff = ConfigDiff::between(old, new);
    if diff.settings.is_empty() && diff.pipelines.keys().all(|name| taken.contains(name)) {
        return new.clone();
    }
    let new_pipelines = pipelines(new);
    let mut merged = pipelines(old);
    for name in taken {
        match new_pipelines.get(name) {
            Some(pipeline) => drop(merged.insert(name.clone(), pipeline.clone())),
            None => drop(merged.remove(name)),
        }
    }
    let mut keys = match old {
        Value::Object(keys) => keys.clone(),
        _ => Map::new(),
    };
    let has_one = !keys.contains_key("pipelines") && merged.len() == 1;
    match merged.get(DEFAULT_PIPELINE_NAME) {
        Some(Value::Object(sections)) if has_one => keys.extend(sections.clone()),
        _ => {
            keys.retain(|key, _| !SECTION_KEYS.contains(&key.as_str()));
            keys.insert("pipelines".to_owned(), Value::Object(merged.into_iter().collect()));
        }
    }
    Value::Object(keys)
}

/// Returns the pipelines of a resolved form by their names.
fn pipelines(resolved: &Value) -> BTreeMap<String, Value> {
    if let Some(Value::Object(named)) = resolved.get("pipelines") {
        return named.clone().into_iter().collect();
    }
    let section = |key: &str| Some((key.to_owned(), resolved.get(key)?.clone()));
    let sections = SECTION_KEYS.into_iter().filter_map(section);
    BTreeMap::from([(DEFAULT_PIPELINE_NAME.to_owned(), Value::Object(sections.collect()))])
}

/// Returns the keys of two objects whose values differ.
fn differing_keys(old: &Value, new: &Value) -> Vec<String> {
    let objects = [old, new].into_iter().filter_map(Value::as_object);
    let all: BTreeSet<&String> = objects.flat_map(Map::keys).collect();
    let differs = |key: &&&String| old.get(key) != new.get(key);
    all.iter().filter(differs).map(|key| (*key).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pipeline(topics: &[&str]) -> Value {
        json!({ "source": { "type": "websocket", "topics": topics }, "stages": [], "sinks": [{ "type": "jsonl" }] })
    }

    #[test]
    fn each_kind_of_change_is_named() {
        let old = json!({ "pipelines": { "a": pipeline(&["x"]), "b": pipeline(&["x"]), "c": pipeline(&["x"]), "d": pipeline(&["x"]) }, "buffer_size": 1 });
        let mut new = old.clone();
        new["pipelines"]["a"] = pipeline(&["x", "y"]);
        new["pipelines"]["b"]["stages"] = json!([{ "type": "jq" }]);
        new["pipelines"]["b"]["sinks"] = json!([{ "type": "jsonl" }, { "type": "stdout" }]);
        new["pipelines"]["b"]["source"]["url"] = json!("ws://other");
        new["pipelines"].as_object_mut().unwrap().remove("c");
        new["pipelines"]["e"] = pipeline(&["x"]);
        new["buffer_size"] = json!(2);
        let diff = ConfigDiff::between(&old, &new);
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let topics = SectionsDiff { source_keys: strings(&["topics"]), ..SectionsDiff::default() };
        let other = SectionsDiff {
            source_keys: strings(&["url"]),
            stages: true,
            sinks: BTreeSet::from([1]),
        };
        assert!(topics.is_topics_only() && !other.is_topics_only());
        let pipelines = [
            ("a", PipelineDiff::Changed(topics)),
            ("b", PipelineDiff::Changed(other)),
            ("c", PipelineDiff::Removed),
            ("e", PipelineDiff::Added),
        ];
        let pipelines = pipelines.map(|(name, diff)| (name.to_owned(), diff)).into();
        assert_eq!(diff, ConfigDiff { pipelines, settings: strings(&["buffer_size"]) });
        assert!(ConfigDiff::between(&new, &new).is_empty());
    }

    #[test]
    fn the_merged_form_is_the_new_one_once_everything_is_taken() {
        let old = json!({ "source": 1, "stages": [], "sinks": [], "buffer_size": 1 });
        let new = json!({ "pipelines": { "main": { "source": 2, "stages": [], "sinks": [] }, "b": {} }, "buffer_size": 1 });
        let taken = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        assert_eq!(merge_pipelines(&old, &new, &taken(&["main", "b"])), new);
        let merged = merge_pipelines(&old, &new, &taken(&["main"]));
        assert_eq!(merged, json!({ "source": 2, "stages": [], "sinks": [], "buffer_size": 1 }));
        let merged = merge_pipelines(&old, &new, &taken(&["b"]));
        assert_eq!(
            merged,
            json!({ "buffer_size": 1, "pipelines": { "b": {}, "main": { "source": 1, "stages": [], "sinks": [] } } })
        );
        assert_eq!(merge_pipelines(&old, &new, &taken(&[])), old);
    }
}

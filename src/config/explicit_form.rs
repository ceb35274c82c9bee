//! The explicit form of a configuration, which `streamer check --json` prints.

use serde_json::{Map, Value, json};

use super::document::{Document, SECTION_KEYS, SHORTHAND};
use super::pipeline_config::PipelineConfig;
use crate::base::env;
use crate::base::problem::Problem;

/// Returns the configuration with every section written out and every default filled in.
///
/// Strings with `${NAME}` are as in the file: `written_keys` are its keys.
///
/// # Errors
/// The document is not representable as a JSON object.
pub(super) fn explicit_form(
    document: &Document,
    pipelines: &[PipelineConfig],
    written_keys: &Map<String, Value>,
) -> Result<Value, Problem> {
    let mut keys = match serde_json::to_value(document) {
        Ok(Value::Object(keys)) => keys,
        Ok(other) => {
            return Err(Problem::at("", format!("the explicit form is `{other}`, not an object")));
        }
        Err(error) => {
            return Err(Problem::at("", format!("cannot write the explicit form: {error}")));
        }
    };
    let shorthand = SHORTHAND.iter().map(|shorthand| shorthand.key);
    for key in shorthand.chain(SECTION_KEYS).chain(["pipelines"]) {
        keys.shift_remove(key);
    }
    let mut template = written_keys.clone();
    if document.pipelines.is_some() {
        let named = pipelines.iter().map(|pipeline| (pipeline.name.clone(), pipeline.resolved()));
        keys.shift_insert(0, "pipelines".to_owned(), Value::Object(named.collect()));
    } else {
        if let Some(Value::Object(sections)) = pipelines.first().map(PipelineConfig::resolved) {
            for (index, (key, section)) in sections.into_iter().enumerate() {
                keys.shift_insert(index, key, section);
            }
        }
        // Shorthand keys restore the strings of the sections that they stand for.
        let written = |key| written_keys.get(key).cloned().unwrap_or_default();
        let source = json!({ "url": written("ws_url"), "topics": [written("topic")] });
        template.entry("source").or_insert(source);
        template.entry("sinks").or_insert(json!([{ "output_dir": written("output_dir") }]));
    }
    let mut resolved = Value::Object(keys);
    env::restore(&mut resolved, &Value::Object(template));
    Ok(resolved)
}

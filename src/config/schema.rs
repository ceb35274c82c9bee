//! The JSON Schema of the configuration file.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::document::{Document, SHORTHAND, pipeline_keys};
use super::pipeline_config::PIPELINE_NAME_PATTERN;
use crate::plugin::PluginKind;
use crate::registry::Registry;

/// Returns the JSON Schema (draft 2020-12) of a configuration file that may name the plugins of the
/// registry.
pub fn config_schema(registry: &Registry) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let sources = one_of(&registry.sources().schemas(&mut generator));
    let stages = one_of(&registry.stages().schemas(&mut generator));
    let sinks = one_of(&registry.sinks().schemas(&mut generator));
    let mut root = Document::json_schema(&mut generator);
    if let Some(Value::Object(properties)) = root.get_mut("properties") {
        replace_sections(properties);
    }
    root.insert("allOf".to_owned(), Value::Array(excluded_keys()));
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    whole.insert("title".to_owned(), json!("streamer configuration"));
    if let Value::Object(keys) = root.to_value() {
        whole.extend(keys.into_iter().filter(|(key, _)| key != "title"));
    }
    let mut definitions = generator.take_definitions(true);
    let kinds =
        [(PluginKind::Source, sources), (PluginKind::Stage, stages), (PluginKind::Sink, sinks)];
    for (kind, schema) in kinds {
        definitions.insert(kind.to_string(), schema);
    }
    whole.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(whole)
}

fn one_of(schemas: &[Schema]) -> Value {
    json!({ "oneOf": schemas })
}

/// Replaces the schemas of the sections, which the document leaves open, by those of the plugins.
fn replace_sections(properties: &mut Map<String, Value>) {
    let source = json!({ "$ref": "#/$defs/source" });
    let stages = json!({ "type": "array", "items": { "$ref": "#/$defs/stage" } });
    let sinks = json!({ "type": "array", "items": { "$ref": "#/$defs/sink" }, "minItems": 1 });
    let pipeline = json!({
        "type": "object",
        "properties": { "source": source, "stages": stages, "sinks": sinks },
        "required": ["source", "sinks"],
        "additionalProperties": false,
    });
    let pipelines = json!({
        "type": "object",
        "propertyNames": { "pattern": PIPELINE_NAME_PATTERN },
        "additionalProperties": pipeline,
        "minProperties": 1,
    });
    replace_schema(properties, "source", source);
    replace_schema(properties, "stages", stages);
    replace_schema(properties, "sinks", sinks);
    replace_schema(properties, "pipelines", pipelines);
}

/// Returns a schema for each pair of keys that exclude each other.
fn excluded_keys() -> Vec<Value> {
    let beside_section = SHORTHAND.iter().map(|shorthand| [shorthand.section, shorthand.key]);
    let beside_pipelines = pipeline_keys().map(|key| ["pipelines", key]);
    let pairs = beside_section.chain(beside_pipelines);
    pairs.map(|keys| json!({ "not": { "required": keys } })).collect()
}

/// Replaces the schema of a key, but keeps its description.
fn replace_schema(properties: &mut Map<String, Value>, key: &str, schema: Value) {
    let description = properties.get(key).and_then(|old| old.get("description")).cloned();
    let mut keys = Map::new();
    if let Some(description) = description {
        keys.insert("description".to_owned(), description);
    }
    if let Value::Object(schema) = schema {
        keys.extend(schema);
    }
    properties.insert(key.to_owned(), Value::Object(keys));
}

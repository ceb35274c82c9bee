//! The JSON Schema of the configuration file, made from the registry that also loads it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::document::Document;
use crate::registry::Registry;

impl Registry {
    /// The JSON Schema (draft 2020-12) of a configuration file that may name the plugins of this
    /// registry.
    pub fn schema(&self) -> Value {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        let sources = one_of(&self.sources().schemas(&mut generator));
        let stages = one_of(&self.stages().schemas(&mut generator));
        let sinks = one_of(&self.sinks().schemas(&mut generator));
        let mut root = Document::json_schema(&mut generator);
        if let Some(Value::Object(properties)) = root.get_mut("properties") {
            section(properties, "source", sources);
            section(properties, "stages", json!({ "type": "array", "items": stages }));
            section(properties, "sinks", json!({ "type": "array", "items": sinks, "minItems": 1 }));
        }
        let exclusive = [["source", "ws_url"], ["source", "topic"], ["sinks", "output_dir"]]
            .map(|keys| json!({ "not": { "required": keys } }));
        root.insert("allOf".to_owned(), json!(exclusive));
        let mut whole = Map::new();
        whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        whole.insert("title".to_owned(), json!("streamer configuration"));
        if let Value::Object(keys) = root.to_value() {
            whole.extend(keys.into_iter().filter(|(key, _)| key != "title"));
        }
        let definitions = generator.take_definitions(true);
        if !definitions.is_empty() {
            whole.insert("$defs".to_owned(), Value::Object(definitions));
        }
        Value::Object(whole)
    }
}

fn one_of(schemas: &[Schema]) -> Value {
    json!({ "oneOf": schemas })
}

/// Replaces what is said of a section, but for its description.
fn section(properties: &mut Map<String, Value>, key: &str, schema: Value) {
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

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
            let stages = json!({ "type": "array", "items": { "$ref": "#/$defs/stage" } });
            let sinks =
                json!({ "type": "array", "items": { "$ref": "#/$defs/sink" }, "minItems": 1 });
            replace_section_schema(properties, "source", json!({ "$ref": "#/$defs/source" }));
            replace_section_schema(properties, "stages", stages.clone());
            replace_section_schema(properties, "sinks", sinks.clone());
            let one = json!({
                "type": "object",
                "properties": { "source": { "$ref": "#/$defs/source" }, "stages": stages, "sinks": sinks },
                "required": ["source", "sinks"],
                "additionalProperties": false,
            });
            let several = json!({
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
                "additionalProperties": one,
                "minProperties": 1,
            });
            replace_section_schema(properties, "pipelines", several);
        }
        let shorthand = [["source", "ws_url"], ["source", "topic"], ["sinks", "output_dir"]];
        let several = ["ws_url", "topic", "output_dir", "source", "stages", "sinks"];
        let exclusive = shorthand
            .into_iter()
            .chain(several.map(|key| ["pipelines", key]))
            .map(|keys| json!({ "not": { "required": keys } }));
        let exclusive: Vec<_> = exclusive.collect();
        root.insert("allOf".to_owned(), json!(exclusive));
        let mut whole = Map::new();
        whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        whole.insert("title".to_owned(), json!("streamer configuration"));
        if let Value::Object(keys) = root.to_value() {
            whole.extend(keys.into_iter().filter(|(key, _)| key != "title"));
        }
        let mut definitions = generator.take_definitions(true);
        for (kind, schema) in [("source", sources), ("stage", stages), ("sink", sinks)] {
            definitions.insert(kind.to_owned(), schema);
        }
        whole.insert("$defs".to_owned(), Value::Object(definitions));
        Value::Object(whole)
    }
}

fn one_of(schemas: &[Schema]) -> Value {
    json!({ "oneOf": schemas })
}

/// Replaces what is said of a section, but for its description.
fn replace_section_schema(properties: &mut Map<String, Value>, key: &str, schema: Value) {
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

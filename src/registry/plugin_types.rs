//! The plugins of one kind, by name.

use std::collections::BTreeMap;
use std::fmt;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Section;
use crate::base::problem::Problem;
use crate::base::suggest::did_you_mean;
use crate::plugin::{CommonKeys, PluginKind};

/// The plugins of one kind, by name. `R` is the running type, such as `Box<dyn Sink>`.
pub(crate) struct PluginTypes<R> {
    kind: PluginKind,
    types: BTreeMap<&'static str, PluginType<R>>,
    aliases: BTreeMap<&'static str, &'static str>,
}

impl<R> Clone for PluginTypes<R> {
    fn clone(&self) -> Self {
        let Self { kind, types, aliases } = self;
        Self { kind: *kind, types: types.clone(), aliases: aliases.clone() }
    }
}

/// The entry of a plugin: how to parse, describe and demonstrate its section.
struct PluginType<R> {
    parse: ParseFn<R>,
    schema: fn(&mut SchemaGenerator) -> Schema,
    example: fn() -> Value,
}

impl<R> Clone for PluginType<R> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// The schema of a plugin's section, and an example of such a section.
pub(crate) struct PluginDescription {
    pub(crate) schema: Value,
    pub(crate) example: Value,
}

type ParseFn<R> = fn(Value, &str, CommonKeys) -> Result<Section<R>, Problem>;

impl<R> PluginTypes<R> {
    pub(super) fn new(kind: PluginKind) -> Self {
        Self { kind, types: BTreeMap::new(), aliases: BTreeMap::new() }
    }

    pub(super) fn add<C: JsonSchema>(
        &mut self,
        name: &'static str,
        example: fn() -> Value,
        parse: ParseFn<R>,
    ) {
        // The schema itself and no reference to it, so that `type` can be added.
        self.types.insert(name, PluginType { parse, schema: C::json_schema, example });
    }

    pub(super) fn add_alias(&mut self, alias: &'static str, name: &'static str) {
        self.aliases.insert(alias, name);
    }

    pub(crate) fn kind(&self) -> PluginKind {
        self.kind
    }

    /// Returns the names of all plugins, in alphabetical order and without aliases.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.types.keys().copied()
    }

    /// Returns the description of the plugin `name`, or `None` if there is no such plugin. The schema
    /// contains the keys that every plugin of the kind has.
    pub(crate) fn describe(&self, name: &str) -> Option<PluginDescription> {
        let canonical = self.aliases.get(name).copied().unwrap_or(name);
        let entry = self.types.get(canonical)?;
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let mut generator = settings.into_generator();
        let schema = (entry.schema)(&mut generator);
        let mut example = Map::from_iter([("type".to_owned(), Value::from(canonical))]);
        if let Value::Object(keys) = (entry.example)() {
            example.extend(keys);
        }
        let schema = self.with_common_keys(canonical, std::iter::empty(), schema);
        Some(PluginDescription { schema: schema.to_value(), example: Value::Object(example) })
    }

    /// Returns the first plugin whose section has this key.
    pub(crate) fn type_with_key(&self, key: &str) -> Option<&'static str> {
        self.types.keys().copied().find(|name| {
            let description = self.describe(name);
            description.is_some_and(|description| {
                description.schema.pointer(&format!("/properties/{key}")).is_some()
            })
        })
    }

    /// Parses the section at `path` with the plugin that its `type` names.
    ///
    /// # Errors
    /// The section is no object, its `type` is unknown, or the plugin has a problem with a key.
    pub(crate) fn parse(&self, section: Value, path: &str) -> Result<Section<R>, Problem> {
        let kind = self.kind;
        let Value::Object(mut keys) = section else {
            return Err(Problem::at(path, format!("a {kind} is an object with a `type`")));
        };
        let known = || self.types.keys().chain(self.aliases.keys()).copied();
        let names = || known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let name = match keys.remove("type") {
            Some(Value::String(name)) => name,
            Some(_) => return Err(Problem::at(format!("{path}.type"), "`type` is not a string")),
            None => {
                return Err(Problem::at(path, format!("`type` is missing: one of {}", names())));
            }
        };
        let canonical = self.aliases.get(name.as_str()).copied().unwrap_or(name.as_str());
        let Some(entry) = self.types.get(canonical) else {
            let hint = did_you_mean(&name, known());
            let message = format!("unknown {kind} type `{name}`{hint}; known: {}", names());
            return Err(Problem::at(format!("{path}.type"), message));
        };
        let common = CommonKeys::take_from(kind, &mut keys, path)?;
        (entry.parse)(Value::Object(keys), path, common)
    }

    /// Returns the schemas of all plugins, each with its `type`.
    pub(crate) fn schemas(&self, generator: &mut SchemaGenerator) -> Vec<Schema> {
        self.types
            .iter()
            .map(|(name, entry)| {
                let aliases = self.aliases.iter().filter(|(_, of)| *of == name).map(|(a, _)| *a);
                self.with_common_keys(name, aliases, (entry.schema)(generator))
            })
            .collect()
    }

    /// Adds to the schema of a plugin's section the keys of all plugins of the kind: `type`, required
    /// and first, and the keys that the engine handles.
    fn with_common_keys<'a>(
        &self,
        name: &'a str,
        aliases: impl Iterator<Item = &'a str>,
        mut schema: Schema,
    ) -> Schema {
        let names: Vec<_> = std::iter::once(name).chain(aliases).collect();
        let tag = if let [name] = names.as_slice() {
            json!({ "const": name })
        } else {
            json!({ "enum": names })
        };
        let mut properties = Map::from_iter([("type".to_owned(), tag)]);
        if let Some(Value::Object(rest)) = schema.remove("properties") {
            properties.extend(rest);
        }
        properties.extend(CommonKeys::schema(self.kind));
        let mut required = vec![Value::from("type")];
        if let Some(Value::Array(rest)) = schema.remove("required") {
            required.extend(rest);
        }
        schema.insert("title".to_owned(), Value::from(name));
        schema.insert("type".to_owned(), Value::from("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("required".to_owned(), Value::Array(required));
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
        schema
    }
}

impl<R> fmt::Debug for PluginTypes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.types.keys()).finish()
    }
}

//! The plugins that a program knows: by name, with their schema.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::error::Problem;
use crate::plugin::{
    BoxError, BuildContext, Sink, SinkConfig, Source, SourceConfig, Stage, StageConfig,
};
use crate::suggest::did_you_mean;

/// A value that knows which types of plugins there are. No global state: tests and third parties
/// make their own.
#[derive(Debug)]
pub struct Registry {
    sources: Kind<dyn Source>,
    stages: Kind<dyn Stage>,
    sinks: Kind<dyn Sink>,
}

impl Registry {
    /// A registry without any plugin.
    pub fn empty() -> Self {
        Self { sources: Kind::new("source"), stages: Kind::new("stage"), sinks: Kind::new("sink") }
    }

    /// Adds a source, or replaces the one of the same name.
    #[must_use]
    pub fn source<C: SourceConfig>(mut self) -> Self {
        self.sources.add::<C>(C::TYPE, |value, path| {
            let config: C = read(value, path)?;
            Ok(Section {
                type_name: C::TYPE,
                resolved: resolved(C::TYPE, &config),
                topics: config.topics().to_vec(),
                archive_dir: None,
                build: Box::new(move |context| config.build(context)),
            })
        });
        self
    }

    /// Adds a stage, or replaces the one of the same name.
    #[must_use]
    pub fn stage<C: StageConfig>(mut self) -> Self {
        self.stages.add::<C>(C::TYPE, |value, path| {
            let config: C = read(value, path)?;
            Ok(Section {
                type_name: C::TYPE,
                resolved: resolved(C::TYPE, &config),
                topics: Vec::new(),
                archive_dir: None,
                build: Box::new(move |context| config.build(context)),
            })
        });
        self
    }

    /// Adds a sink, or replaces the one of the same name.
    #[must_use]
    pub fn sink<C: SinkConfig>(mut self) -> Self {
        self.sinks.add::<C>(C::TYPE, |value, path| {
            let config: C = read(value, path)?;
            Ok(Section {
                type_name: C::TYPE,
                resolved: resolved(C::TYPE, &config),
                topics: Vec::new(),
                archive_dir: config.archive_dir().map(Path::to_owned),
                build: Box::new(move |context| config.build(context)),
            })
        });
        self
    }

    /// Makes `alias` another name of the stage `name`.
    #[must_use]
    pub fn stage_alias(mut self, alias: &'static str, name: &'static str) -> Self {
        self.stages.aliases.insert(alias, name);
        self
    }

    pub(crate) fn sources(&self) -> &Kind<dyn Source> {
        &self.sources
    }

    pub(crate) fn stages(&self) -> &Kind<dyn Stage> {
        &self.stages
    }

    pub(crate) fn sinks(&self) -> &Kind<dyn Sink> {
        &self.sinks
    }
}

/// The plugins of one kind; `R` is their running type.
pub(crate) struct Kind<R: ?Sized> {
    what: &'static str,
    types: BTreeMap<&'static str, Entry<R>>,
    aliases: BTreeMap<&'static str, &'static str>,
}

struct Entry<R: ?Sized> {
    parse: fn(Value, &str) -> Result<Section<R>, Problem>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl<R: ?Sized> Kind<R> {
    fn new(what: &'static str) -> Self {
        Self { what, types: BTreeMap::new(), aliases: BTreeMap::new() }
    }

    fn add<C: JsonSchema>(
        &mut self,
        name: &'static str,
        parse: fn(Value, &str) -> Result<Section<R>, Problem>,
    ) {
        // `json_schema` rather than a reference, so that `type` can be added to it.
        self.types.insert(name, Entry { parse, schema: C::json_schema });
    }

    /// Reads the section at `path`: takes `type` off and gives the rest to that type.
    pub(crate) fn parse(&self, section: Value, path: &str) -> Result<Section<R>, Problem> {
        let what = self.what;
        let Value::Object(mut keys) = section else {
            return Err(Problem::at(path, format!("a {what} is an object with a `type`")));
        };
        let known = || self.types.keys().chain(self.aliases.keys()).copied();
        let names = || known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let name = match keys.remove("type") {
            Some(Value::String(name)) => name,
            Some(_) => return Err(Problem::at(format!("{path}.type"), "`type` is not a text")),
            None => {
                return Err(Problem::at(path, format!("`type` is missing: one of {}", names())));
            }
        };
        let canonical = self.aliases.get(name.as_str()).copied().unwrap_or(name.as_str());
        let Some(entry) = self.types.get(canonical) else {
            let hint = did_you_mean(&name, known());
            let message = format!("unknown {what} type `{name}`{hint}; known: {}", names());
            return Err(Problem::at(format!("{path}.type"), message));
        };
        (entry.parse)(Value::Object(keys), path)
    }

    /// The schemas of all types, each with its `type`.
    pub(crate) fn schemas(&self, generator: &mut SchemaGenerator) -> Vec<Schema> {
        self.types
            .iter()
            .map(|(name, entry)| {
                let aliases = self.aliases.iter().filter(|(_, of)| *of == name).map(|(a, _)| *a);
                with_type(name, aliases, (entry.schema)(generator))
            })
            .collect()
    }
}

impl<R: ?Sized> fmt::Debug for Kind<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.types.keys()).finish()
    }
}

/// Adds the `type` key, required and first, to the schema of a plugin's section.
fn with_type<'a>(
    name: &'a str,
    aliases: impl Iterator<Item = &'a str>,
    mut schema: Schema,
) -> Schema {
    let names: Vec<_> = std::iter::once(name).chain(aliases).collect();
    let tag = if let [name] = names.as_slice() {
        serde_json::json!({ "const": name })
    } else {
        serde_json::json!({ "enum": names })
    };
    let mut properties = Map::from_iter([("type".to_owned(), tag)]);
    if let Some(Value::Object(rest)) = schema.remove("properties") {
        properties.extend(rest);
    }
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

/// A plugin's section that was read and is not yet built. `R` is the running type, such as
/// `dyn Source`.
pub(crate) struct Section<R: ?Sized> {
    pub(crate) type_name: &'static str,
    /// The section with every default filled in, `type` first.
    pub(crate) resolved: Value,
    /// What a source subscribes to; empty for stages and sinks.
    pub(crate) topics: Vec<String>,
    /// Where a sink writes hours; `None` for all else.
    pub(crate) archive_dir: Option<PathBuf>,
    build: Build<R>,
}

type Build<R> = Box<dyn FnOnce(&BuildContext) -> Result<Box<R>, BoxError>>;

impl<R: ?Sized> Section<R> {
    /// Makes the running plugin.
    pub(crate) fn build(self, context: &BuildContext) -> Result<Box<R>, BoxError> {
        (self.build)(context)
    }
}

/// Reads a config; the problem names the key within the section at `path`.
fn read<C: DeserializeOwned>(value: Value, path: &str) -> Result<C, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| Problem::from_serde(path, &error))
}

fn resolved<C: Serialize>(name: &str, config: &C) -> Value {
    let mut section = Map::from_iter([("type".to_owned(), Value::from(name))]);
    // A config that cannot be shown is shown by its type alone.
    if let Ok(Value::Object(keys)) = serde_json::to_value(config) {
        section.extend(keys);
    }
    Value::Object(section)
}

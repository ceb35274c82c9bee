//! A plugin's section of the configuration: its own keys, and those that the engine minds for it.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::base::json::Selector;
use crate::base::problem::Problem;
use crate::plugin::{BoxError, BuildContext, CommonKeys};

/// The properties of a plugin that its config states before the plugin is built.
#[derive(Debug, Default)]
pub(crate) struct PluginProperties {
    /// Topics that a source subscribes to; empty for stages and sinks.
    pub(crate) topics: Vec<String>,
    /// Selector of the topic in the messages of a source.
    pub(crate) topic_selector: Option<Selector>,
    /// Directory in which a sink writes hours; `None` for all other plugins.
    pub(crate) archive_dir: Option<PathBuf>,
    /// Set if a source reads stdin.
    pub(crate) uses_stdin: bool,
    /// Set if a sink writes messages to stdout.
    pub(crate) uses_stdout: bool,
}

/// A plugin's section that was parsed; the plugin is not built yet. `R` is the running type, such
/// as `Box<dyn Sink>`.
pub(crate) struct Section<R> {
    pub(crate) type_name: &'static str,
    /// The section with every default filled in, `type` first.
    pub(crate) resolved: Value,
    pub(crate) common: CommonKeys,
    pub(crate) properties: PluginProperties,
    build: BuildFn<R>,
}

type BuildFn<R> = Box<dyn FnOnce(&BuildContext) -> Result<R, BoxError>>;

impl<R> Section<R> {
    /// Makes a section of the plugin's config, which `build` turns into the running plugin.
    ///
    /// # Errors
    /// The config does not serialize to a JSON object, so the explicit form cannot show it.
    pub(super) fn new<C: Serialize + 'static>(
        type_name: &'static str,
        path: &str,
        config: C,
        common: CommonKeys,
        properties: PluginProperties,
        build: impl FnOnce(C, &BuildContext) -> Result<R, BoxError> + 'static,
    ) -> Result<Self, Problem> {
        let mut resolved = Map::from_iter([("type".to_owned(), Value::from(type_name))]);
        match serde_json::to_value(&config) {
            Ok(Value::Object(keys)) => resolved.extend(keys),
            Ok(other) => {
                let message = format!(
                    "the config of `{type_name}` serializes to `{other}`, not to an object"
                );
                return Err(Problem::at(path, message));
            }
            Err(error) => {
                let message = format!("the config of `{type_name}` does not serialize: {error}");
                return Err(Problem::at(path, message));
            }
        }
        resolved.extend(common.to_entry());
        Ok(Self {
            type_name,
            resolved: Value::Object(resolved),
            common,
            properties,
            build: Box::new(move |context| build(config, context)),
        })
    }

    /// Builds the running plugin.
    ///
    /// # Errors
    /// The plugin's own error.
    pub(crate) fn build(self, context: &BuildContext) -> Result<R, BoxError> {
        (self.build)(context)
    }
}

/// Parses the config of a plugin.
///
/// # Errors
/// The first key that is unknown or has a wrong value, with its path within the section at `path`.
pub(super) fn parse_config<C: DeserializeOwned>(value: &Value, path: &str) -> Result<C, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let problem = Problem::from_serde(path, &error);
        if problem.path == path {
            Problem::in_section(path, problem.message, value)
        } else {
            problem
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::PluginKind;

    #[test]
    fn a_config_that_does_not_serialize_to_an_object_is_a_problem() {
        let section = Section::new(
            "odd",
            "stages[0]",
            "text",
            CommonKeys::defaults_for(PluginKind::Stage),
            PluginProperties::default(),
            |_, _| Ok(()),
        );
        let problem = section.err().unwrap();
        assert_eq!(problem.path, "stages[0]");
        assert!(problem.message.contains("`odd` serializes to `\"text\"`"), "{}", problem.message);
    }
}

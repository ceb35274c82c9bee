//! `streamer plugins`: lists the plugins that a configuration may name.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::cli_error::CliError;
use super::output::{OutputFormat, print};
use crate::base::suggest::did_you_mean;
use crate::plugin::PluginKind;
use crate::registry::{PluginDescription, PluginTypes, Registry};

#[derive(Args)]
pub(super) struct PluginsArgs {
    /// Show the plugins of this name with their keys, defaults and an example
    name: Option<String>,
    /// Print one JSON object per line for each plugin
    #[arg(long)]
    json: bool,
}

/// A plugin with its documentation.
struct PluginInfo {
    kind: PluginKind,
    name: &'static str,
    description: PluginDescription,
}

impl PluginInfo {
    fn about(&self) -> &str {
        description_of(&self.description.schema)
    }

    /// Returns the first sentence of the description, or its first paragraph without a full stop.
    fn summary(&self) -> String {
        let paragraph = self.about().split("\n\n").next().unwrap_or_default().replace('\n', " ");
        match paragraph.split_once(". ") {
            Some((first, _)) => format!("{first}."),
            None => paragraph,
        }
    }
}

pub(super) fn plugins(args: &PluginsArgs, registry: &Registry) -> Result<ExitCode, CliError> {
    let all = all_plugins(registry);
    let chosen: Vec<&PluginInfo> = match &args.name {
        None => all.iter().collect(),
        Some(name) => all.iter().filter(|plugin| plugin.name == name).collect(),
    };
    if let Some(name) = args.name.as_ref().filter(|_| chosen.is_empty()) {
        let hint = did_you_mean(name, all.iter().map(|plugin| plugin.name));
        let message = format!("there is no plugin `{name}`{hint}; `streamer plugins` lists them");
        return Err(CliError::Usage(message));
    }
    print(&match (OutputFormat::from_flag(args.json), &args.name) {
        (OutputFormat::Json, _) => chosen.iter().map(|plugin| format_json(plugin)).collect(),
        (OutputFormat::Text, Some(_)) => format_details(&chosen),
        (OutputFormat::Text, None) => format_list(&chosen),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Returns all plugins of the registry: sources, stages and sinks, each in alphabetical order.
fn all_plugins(registry: &Registry) -> Vec<PluginInfo> {
    let mut all = plugins_of(registry.sources());
    all.extend(plugins_of(registry.stages()));
    all.extend(plugins_of(registry.sinks()));
    all
}

fn plugins_of<R>(types: &PluginTypes<R>) -> Vec<PluginInfo> {
    let named = types.names().map(|name| {
        let description = types.describe(name)?;
        Some(PluginInfo { kind: types.kind(), name, description })
    });
    named.flatten().collect()
}

fn format_json(plugin: &PluginInfo) -> String {
    let PluginInfo { kind, name, description } = plugin;
    let PluginDescription { schema, example } = description;
    let line = json!({
        "kind": kind.as_str(), "name": name, "summary": plugin.summary(), "schema": schema, "example": example,
    });
    format!("{line}\n")
}

fn format_list(plugins: &[&PluginInfo]) -> String {
    let mut text = String::new();
    let mut kind = None;
    for plugin in plugins {
        if kind != Some(plugin.kind) {
            kind = Some(plugin.kind);
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "{}s", plugin.kind);
        }
        let _infallible = writeln!(text, "  {:<10} {}", plugin.name, plugin.summary());
    }
    text.push_str(
        "\n`streamer plugins NAME` shows the keys of a plugin, with defaults and an example.\n",
    );
    text
}

fn format_details(plugins: &[&PluginInfo]) -> String {
    let mut text = String::new();
    for (index, plugin) in plugins.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{gap}{} {}", plugin.kind, plugin.name);
        let _infallible = writeln!(text, "{}\n", indent(plugin.about(), 2));
        let schema = &plugin.description.schema;
        let required = schema.get("required").and_then(Value::as_array);
        let empty = Map::new();
        let keys = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        for (key, schema) in keys.iter().filter(|(key, _)| *key != "type") {
            let required = required.is_some_and(|all| all.iter().any(|name| name == key));
            let default = match schema.get("default") {
                _ if required => " (required)".to_owned(),
                Some(default) if !default.is_null() => format!(" = {default}"),
                _ => String::new(),
            };
            let about = format!("{}{}", description_of(schema), format_choices(schema));
            let _infallible = writeln!(text, "  {key}{default}\n{}", indent(&about, 6));
        }
        let _infallible = writeln!(text, "\n  for example: {}", plugin.description.example);
    }
    text
}

/// Returns the strings that a key may have, with their meanings; empty for any other key.
fn format_choices(schema: &Value) -> String {
    let mut text = String::new();
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    for choice in choices {
        let about = description_of(choice);
        if let Some(value) = choice.get("const").filter(|value| value.is_string()) {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\n{value}: {}", about.replace('\n', " "));
        }
    }
    text
}

/// Returns the description in a schema, or an empty text if the plugin's author wrote none.
fn description_of(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

fn indent(text: &str, by: usize) -> String {
    let lines = text.lines().map(|line| format!("{:by$}{line}", "").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

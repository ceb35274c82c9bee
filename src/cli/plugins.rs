//! `streamer plugins`: what a configuration may name.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{CliError, print};
use crate::base::suggest::did_you_mean;
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct PluginsArgs {
    /// Say everything of the plugins of this name: their keys, defaults, an example
    name: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// A plugin as it is shown.
struct PluginInfo {
    kind: &'static str,
    name: &'static str,
    schema: Value,
    example: Value,
}

impl PluginInfo {
    fn description(&self) -> &str {
        self.schema.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The first sentence, or the first paragraph if that is one.
    fn summary(&self) -> String {
        let paragraph =
            self.description().split("\n\n").next().unwrap_or_default().replace('\n', " ");
        paragraph.split_once(". ").map_or(paragraph.clone(), |(first, _)| format!("{first}."))
    }
}

pub(super) fn plugins(args: &PluginsArgs, registry: &Registry) -> Result<ExitCode, CliError> {
    let all = all_plugins(registry);
    let chosen: Vec<&PluginInfo> = match &args.name {
        None => all.iter().collect(),
        Some(name) => all.iter().filter(|plugin| plugin.name == name).collect(),
    };
    if let (Some(name), true) = (&args.name, chosen.is_empty()) {
        let hint = did_you_mean(name, all.iter().map(|plugin| plugin.name));
        let message = format!("there is no plugin `{name}`{hint}; `streamer plugins` lists them");
        return Err(CliError::Usage(message));
    }
    if args.json {
        let shown = chosen.iter().map(|plugin| {
            let PluginInfo { kind, name, schema, example } = plugin;
            json!({ "kind": kind, "name": name, "summary": plugin.summary(), "schema": schema, "example": example })
        });
        let lines: Vec<_> = shown.map(|plugin| plugin.to_string() + "\n").collect();
        return print(&lines.concat());
    }
    print(&if args.name.is_some() { format_details(&chosen) } else { format_list(&chosen) })
}

fn all_plugins(registry: &Registry) -> Vec<PluginInfo> {
    let mut all = Vec::new();
    let mut add = |kind, name: &'static str, described: Option<(Value, Value)>| {
        if let Some((schema, example)) = described {
            all.push(PluginInfo { kind, name, schema, example });
        }
    };
    for name in registry.sources().names() {
        add("source", name, registry.sources().describe(name));
    }
    for name in registry.stages().names() {
        add("stage", name, registry.stages().describe(name));
    }
    for name in registry.sinks().names() {
        add("sink", name, registry.sinks().describe(name));
    }
    all
}

fn format_list(plugins: &[&PluginInfo]) -> String {
    let mut text = String::new();
    let mut kind = "";
    for plugin in plugins {
        if plugin.kind != kind {
            kind = plugin.kind;
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "{kind}s");
        }
        let _infallible = writeln!(text, "  {:<10} {}", plugin.name, plugin.summary());
    }
    text.push_str(
        "\n`streamer plugins NAME` shows the keys of one, with defaults and an example.\n",
    );
    text
}

fn format_details(plugins: &[&PluginInfo]) -> String {
    let mut text = String::new();
    for (index, plugin) in plugins.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{gap}{} {}", plugin.kind, plugin.name);
        let _infallible = writeln!(text, "{}\n", indent(plugin.description(), 2));
        let required = plugin.schema.get("required").and_then(Value::as_array);
        let empty = Map::new();
        let keys = plugin.schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        for (key, schema) in keys.iter().filter(|(key, _)| *key != "type") {
            let required = required.is_some_and(|all| all.iter().any(|name| name == key));
            let default = match schema.get("default") {
                _ if required => " (required)".to_owned(),
                Some(default) if !default.is_null() => format!(" = {default}"),
                _ => String::new(),
            };
            let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            let about = format!("{about}{}", format_choices(schema));
            let _infallible = writeln!(text, "  {key}{default}\n{}", indent(&about, 6));
        }
        let _infallible = writeln!(text, "\n  for example: {}", plugin.example);
    }
    text
}

/// The texts that a key may have, with what they mean, where these are all.
fn format_choices(schema: &Value) -> String {
    let mut text = String::new();
    let each = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    for choice in each {
        let about = choice.get("description").and_then(Value::as_str).unwrap_or_default();
        if let Some(value) = choice.get("const").filter(|value| value.is_string()) {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\n{value}: {}", about.replace('\n', " "));
        }
    }
    text
}

fn indent(text: &str, by: usize) -> String {
    let lines = text.lines().map(|line| format!("{:by$}{line}", "").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

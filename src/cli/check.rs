//! `streamer check`: checks the configuration and prints what it would run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::cli_error::CliError;
use super::output::{OutputFormat, print, print_json, print_message};
use crate::config::{BuildPlace, Config, RecorderSettings};
use crate::engine::Pipeline;
use crate::registry::Registry;

pub(super) fn check(
    file: &Path,
    format: OutputFormat,
    registry: &Registry,
) -> Result<ExitCode, CliError> {
    let Config { pipelines, settings, resolved, .. } = Config::load(file, registry)?;
    // Building finds problems that parsing does not: a malformed URL, a missing certificate.
    let pacer = Arc::default();
    let config_digest = String::new();
    let place = BuildPlace { pacer: &pacer, run_id: "", config_digest };
    let built = pipelines.build(&place)?;
    let pipelines: Vec<_> = built.into_iter().map(|built| built.pipeline).collect();
    match format {
        OutputFormat::Json => print_json(&resolved)?,
        OutputFormat::Text => {
            // Paths and commands may hold the value of a `${NAME}`.
            print(&settings.secrets.mask(&summary(file, &settings, &pipelines, &resolved)))?;
        }
    }
    for warning in &settings.warnings {
        print_message(&format!("warning: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the pipelines and the settings as a table of rows.
fn summary(
    file: &Path,
    settings: &RecorderSettings,
    pipelines: &[Pipeline],
    resolved: &Value,
) -> String {
    let mut text = format!("{} is valid.\n", file.display());
    for pipeline in pipelines {
        let named_sections = resolved.pointer(&format!("/pipelines/{}", pipeline.name));
        if named_sections.is_some() {
            push_row(&mut text, "pipeline", &format!(" {}", pipeline.name));
        }
        push_pipeline(&mut text, pipeline, named_sections.unwrap_or(resolved));
    }
    let archive = settings.archive.as_ref().map_or_else(
        || "none; closed hours stay as they are".to_owned(),
        |archive| archive.config.to_string(),
    );
    push_row(&mut text, "archive", &archive);
    let log = &settings.log;
    let stdout = if log.to_stdout { ", stdout" } else { "" };
    push_row(&mut text, "log", &format!("{}{stdout}", display_path(log.file.as_ref())));
    push_row(&mut text, "status", &display_path(settings.status_socket.as_ref()));
    text
}

/// Appends the rows of a pipeline. `sections` are its sections in the explicit form.
fn push_pipeline(text: &mut String, pipeline: &Pipeline, sections: &Value) {
    let source_type = sections.pointer("/source/type").and_then(Value::as_str).unwrap_or_default();
    push_row(text, "source", &format!("{} ({source_type})", pipeline.endpoint()));
    if let Some(topics) = sections.pointer("/source/topics").and_then(Value::as_array) {
        let topics: Vec<_> = topics.iter().filter_map(Value::as_str).collect();
        push_row(text, "topics", &format_topics(&topics));
    }
    for stage in &pipeline.stages {
        push_row(text, "stage", &stage.name);
    }
    for sink in &pipeline.sinks {
        let optional = if sink.common.required { "" } else { " (not required)" };
        let destination = sink.plugin.destination();
        push_row(text, "sink", &format!("{} → {destination}{optional}", sink.name));
    }
}

fn push_row(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "  {name:<8}{value}");
}

fn display_path(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

/// Returns the topics as a list, of which only the first are shown when there are many.
fn format_topics(topics: &[&str]) -> String {
    const MAX_SHOWN_TOPICS: usize = 10;
    if topics.is_empty() {
        return "none".to_owned();
    }
    match topics.split_at_checked(MAX_SHOWN_TOPICS) {
        Some((shown, rest)) if !rest.is_empty() => {
            format!("{} and {} more", shown.join(", "), rest.len())
        }
        _ => topics.join(", "),
    }
}

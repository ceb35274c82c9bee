//! `streamer check`: what a configuration would run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::{CliError, print};
use crate::base::time::{Clock, SystemClock};
use crate::config::Config;
use crate::metrics::ProcessStats;
use crate::registry::Registry;

pub(super) fn check(file: &Path, json: bool, registry: &Registry) -> Result<ExitCode, CliError> {
    let config = Config::load(file, registry)?;
    let (resolved, socket, log) =
        (config.resolved.clone(), config.status_socket.clone(), config.log.clone());
    let archive = config.archive.clone().map(|(archive, _)| archive);
    // Building finds what reading does not: a malformed URL, a missing certificate.
    let pipelines = config.build(&ProcessStats::new(SystemClock.now()), &Arc::default())?;
    if json {
        return print(&(serde_json::to_string_pretty(&resolved).unwrap_or_default() + "\n"));
    }
    let mut text = format!("{} is valid.\n", file.display());
    let mut row = |what: &str, value: String| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  {what:<8}{value}");
    };
    for pipeline in &pipelines {
        let sections = resolved.pointer(&format!("/pipelines/{}", pipeline.name));
        if sections.is_some() {
            row("pipeline", format!(" {}", pipeline.name));
        }
        let sections = sections.unwrap_or(&resolved);
        let type_name = str_at(sections, "/source/type");
        row("source", format!("{} ({type_name})", pipeline.endpoint()));
        if let Some(topics) = sections.pointer("/source/topics").and_then(Value::as_array) {
            let topics: Vec<_> = topics.iter().filter_map(|topic| topic.as_str()).collect();
            row("topics", format_topics(&topics));
        }
        for stage in &pipeline.stages {
            row("stage", stage.name.clone());
        }
        for sink in &pipeline.sinks {
            let optional = if sink.common.required { "" } else { " (not required)" };
            row("sink", format!("{} → {}{optional}", sink.name, sink.plugin.destination()));
        }
    }
    row(
        "archive",
        archive.map_or("no sidecar: hours stay as they are".to_owned(), |a| a.to_string()),
    );
    let path = |path: Option<std::path::PathBuf>| match path {
        Some(path) => path.display().to_string(),
        None => "none".to_owned(),
    };
    row("log", path(log.file) + if log.to_stdout { ", stdout" } else { "" });
    row("status", path(socket));
    print(&text)
}

/// The topics, or the first of very many.
fn format_topics(topics: &[&str]) -> String {
    const MAX_SHOWN_TOPICS: usize = 10;
    let shown = topics.get(..MAX_SHOWN_TOPICS.min(topics.len())).unwrap_or_default().join(", ");
    match topics.len() {
        0 => "none".to_owned(),
        more if more > MAX_SHOWN_TOPICS => format!("{shown} and {} more", more - MAX_SHOWN_TOPICS),
        _ => shown,
    }
}

fn str_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

//! `streamer check`: what a configuration would run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::{Failure, print};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::registry::Registry;
use crate::stats::Stats;

pub(super) fn check(file: &Path, json: bool, registry: &Registry) -> Result<ExitCode, Failure> {
    let config = Config::load(file, registry)?;
    let (resolved, socket, log) =
        (config.resolved.clone(), config.status_socket.clone(), config.log.clone());
    let archive = config.archive.clone().map(|(archive, _)| archive);
    // Building finds what reading does not: a malformed URL, a missing certificate.
    let stats = Arc::new(Stats::new(SystemClock.now()));
    let pipeline = config.build(&stats, &Arc::default())?;
    if json {
        return print(&(serde_json::to_string_pretty(&resolved).unwrap_or_default() + "\n"));
    }
    let mut text = format!("{} is valid.\n", file.display());
    let mut row = |what: &str, value: String| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  {what:<8}{value}");
    };
    row(
        "source",
        format!("{} ({})", pipeline.source.endpoint(), text_at(&resolved, "/source/type")),
    );
    if let Some(topics) = resolved.pointer("/source/topics").and_then(Value::as_array) {
        let topics: Vec<_> = topics.iter().filter_map(|topic| topic.as_str()).collect();
        let list = if topics.is_empty() { "none".to_owned() } else { topics.join(", ") };
        row("topics", list);
    }
    for stage in &pipeline.stages {
        row("stage", stage.name.clone());
    }
    for sink in &pipeline.sinks {
        row("sink", format!("{} → {}", sink.name, sink.plugin.destination()));
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

fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

//! `streamer profiles`: lists the venues whose protocol is built in.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::cli_error::CliError;
use super::output::{OutputFormat, print, print_json, print_message, to_json_line};
use super::path_arg::path_parser;
use crate::base::suggest::did_you_mean;
use crate::sources::websocket::Profile;
use crate::sources::websocket::profile::{self, LoadedProfile};

#[derive(Args)]
pub(super) struct ProfilesArgs {
    /// Show the profile of this name
    name: Option<String>,
    /// Also read the profiles in this directory, as the key `profile_dir` does
    #[arg(long, value_name = "DIR", value_parser = path_parser())]
    dir: Option<PathBuf>,
    /// Print JSON: one profile is a file for `profile_dir`, a list is one object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn profiles(args: &ProfilesArgs) -> Result<ExitCode, CliError> {
    let format = OutputFormat::from_flag(args.json);
    let all = profile::load_all(args.dir.as_deref()).map_err(anyhow::Error::from)?;
    match &args.name {
        Some(name) => show_profile(name, all, format),
        None => list_profiles(all, format),
    }
}

/// Prints every profile. A file that is no valid profile is reported after the list.
fn list_profiles(all: Vec<LoadedProfile>, format: OutputFormat) -> Result<ExitCode, CliError> {
    let mut valid = Vec::new();
    let mut errors = Vec::new();
    for LoadedProfile { name, profile, .. } in all {
        match profile {
            Ok(profile) => valid.push((name, profile)),
            Err(error) => errors.push(error),
        }
    }
    match format {
        OutputFormat::Text => print(&format_list(&valid))?,
        OutputFormat::Json => {
            let lines = valid.iter().map(|(name, profile)| {
                to_json_line(&serde_json::json!({ "name": name, "profile": profile }))
            });
            print(&lines.collect::<anyhow::Result<String>>()?)?;
        }
    }
    for error in &errors {
        print_message(&format!("error: {error}"));
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the profile of this name.
fn show_profile(
    wanted: &str,
    mut all: Vec<LoadedProfile>,
    format: OutputFormat,
) -> Result<ExitCode, CliError> {
    let Some(index) = all.iter().position(|loaded| loaded.name == wanted) else {
        let valid = all.iter().filter(|loaded| loaded.profile.is_ok());
        let hint = did_you_mean(wanted, valid.map(|loaded| loaded.name.as_str()));
        let message =
            format!("there is no profile `{wanted}`{hint}; `streamer profiles` lists them");
        return Err(CliError::Usage(message));
    };
    let LoadedProfile { name, profile, .. } = all.swap_remove(index);
    let profile = profile.map_err(anyhow::Error::from)?;
    match format {
        OutputFormat::Text => print(&format_details(&name, &profile))?,
        OutputFormat::Json => print_json(&profile)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn format_list(all: &[(String, Profile)]) -> String {
    let mut text = String::new();
    for (name, profile) in all {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name:<18} {}", profile.about);
    }
    text.push_str("\n`streamer profiles NAME` shows a profile; with --json it prints a file to start from for `profile_dir`.\n");
    text
}

fn format_details(name: &str, profile: &Profile) -> String {
    let mut text = format!("{name}: {}\n", profile.about);
    let mut row = |label: &str, value: String| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "  {label:<12}{value}");
        }
    };
    let limits = &profile.limits;
    let number = |name: &str, value: usize| match value {
        0 => String::new(),
        value => format!("{value} {name}"),
    };
    let limits_shown = [
        number("topics per request", limits.topics_per_request),
        number("topics per connection", limits.topics_per_connection),
        number("bytes of topics per connection", limits.topic_bytes_per_connection),
        format!("{} between requests", limits.request_interval),
        format!("{} between connects", limits.connect_interval),
    ];
    let limits_shown: Vec<_> = limits_shown.into_iter().filter(|limit| !limit.is_empty()).collect();
    row("url", profile.url.clone().unwrap_or_default());
    row("hosts", profile.hosts.join(", "));
    row("a topic is", profile.topic.clone());
    row("such as", profile.examples.join(", "));
    row("subscribe", profile.subscribe.to_string());
    let ping = profile.ping.as_ref();
    row("ping", ping.map(|p| format!("{} every {}", p.message, p.interval)).unwrap_or_default());
    row("its topic", profile.topic_pointer.as_ref().map(ToString::to_string).unwrap_or_default());
    row("limits", limits_shown.join(", "));
    for note in &profile.notes {
        row("note", note.clone());
    }
    text
}

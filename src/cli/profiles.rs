//! `streamer profiles`: what is known of venues.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CliError, print, print_stderr};
use crate::base::suggest::did_you_mean;
use crate::sources::websocket::Profile;
use crate::sources::websocket::profile;

#[derive(Args)]
pub(super) struct ProfilesArgs {
    /// Show the profile of this name
    name: Option<String>,
    /// Also those in this directory, as `profile_dir` has them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print it as JSON: a file for `profile_dir`
    #[arg(long)]
    json: bool,
}

pub(super) fn profiles(args: &ProfilesArgs) -> Result<ExitCode, CliError> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (name, profile) in profile::load_all(args.dir.as_deref()).map_err(anyhow::Error::from)? {
        match profile {
            Ok(profile) => all.push((name, profile)),
            Err(error) => wrong.push((name, error)),
        }
    }
    if let Some(wanted) = &args.name
        && let Some(index) = wrong.iter().position(|(name, _)| name == wanted)
    {
        return Err(anyhow::Error::from(wrong.swap_remove(index).1).into());
    }
    let Some(wanted) = &args.name else {
        if args.json {
            let lines = all.iter().map(|(name, profile)| {
                serde_json::json!({ "name": name, "profile": profile }).to_string() + "\n"
            });
            print(&lines.collect::<String>())?;
        } else {
            print(&format_list(&all))?;
        }
        for (_, error) in &wrong {
            print_stderr(&format!("error: {error}"));
        }
        return Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    };
    let Some((name, found)) = all.iter().find(|(name, _)| name == wanted) else {
        let hint = did_you_mean(wanted, all.iter().map(|(name, _)| name.as_str()));
        let message =
            format!("there is no profile `{wanted}`{hint}; `streamer profiles` lists them");
        return Err(CliError::Usage(message));
    };
    if args.json {
        return print(&(serde_json::to_string_pretty(found).unwrap_or_default() + "\n"));
    }
    print(&format_details(name, found))
}

fn format_list(all: &[(String, Profile)]) -> String {
    let mut text = String::new();
    for (name, profile) in all {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name:<18} {}", profile.about);
    }
    text.push_str("\n`streamer profiles NAME` shows one; with --json as a file to start from for `profile_dir`.\n");
    text
}

fn format_details(name: &str, profile: &Profile) -> String {
    let mut text = format!("{name}: {}\n", profile.about);
    let mut row = |what: &str, value: String| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "  {what:<12}{value}");
        }
    };
    let limits = &profile.limits;
    let number = |name: &str, value: usize| match value {
        0 => String::new(),
        value => format!("{value} {name}"),
    };
    let all = [
        number("topics a request", limits.topics_per_request),
        number("topics a connection", limits.topics_per_connection),
        number("bytes of topics a connection", limits.topic_bytes_per_connection),
        format!("{} between requests", limits.request_interval),
        format!("{} between connects", limits.connect_interval),
    ];
    let all: Vec<_> = all.into_iter().filter(|limit| !limit.is_empty()).collect();
    row("url", profile.url.clone().unwrap_or_default());
    row("hosts", profile.hosts.join(", "));
    row("a topic is", profile.topic.clone());
    row("such as", profile.examples.join(", "));
    row("subscribe", profile.subscribe.to_string());
    let ping = profile.ping.as_ref();
    row("ping", ping.map(|p| format!("{} every {}", p.message, p.interval)).unwrap_or_default());
    row("its topic", profile.topic_pointer.as_ref().map(ToString::to_string).unwrap_or_default());
    row("limits", all.join(", "));
    for note in &profile.notes {
        row("note", note.clone());
    }
    text
}

//! The command line.

mod archive;
mod archive_args;
mod cat;
mod check;
mod demo;
mod gaps;
mod go_flags;
mod init;
mod ls;
mod plugins;
mod profiles;
mod progress;
mod report;
mod run;
mod time_arg;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::base::config_error::ConfigError;
use crate::config::Config;
use crate::registry::Registry;

const AFTER_HELP: &str = "\
Long flags may be written with one dash or two: -config FILE is --config FILE.
Without a command, streamer records: `streamer -config FILE` is `streamer run -config FILE`.
Exit codes: 0 done, 1 failed, 2 usage or configuration, 130 second Ctrl-C.";

/// Records WebSocket feeds verbatim into hourly JSONL files, unattended.
#[derive(Parser)]
#[command(name = "streamer", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Path to config file
    #[arg(long, global = true, value_name = "FILE", default_value = "config.json")]
    config: PathBuf,
    /// Force logs to stdout (overrides config), in more detail
    #[arg(long, global = true)]
    debug: bool,
    /// Query running instance status and exit; the same as the command `status`
    #[arg(long)]
    status: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Record until SIGINT or SIGTERM
    Run,
    /// Query running instance status
    Status {
        /// Print everything there is to know, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration and say what it would run
    Check {
        /// Print the explicit form, with every default filled in, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Seal closed hours and apply retention, once and now
    Archive(archive::ArchiveArgs),
    /// List the hours: messages, sizes, state, gaps
    Ls(ls::LsArgs),
    /// Print the lines of the archive, in the order of time
    Cat(cat::CatArgs),
    /// List the gaps: when something may be missing from the archive, and why
    Gaps(gaps::GapsArgs),
    /// Show the archive as a picture: days down, hours across, each coloured by how whole it is
    Report(report::ReportArgs),
    /// Prove every hour: checksums, counts, hashes, and that it is all that its journal says
    Verify(verify::VerifyArgs),
    /// Write a configuration to start from, with its schema beside it
    Init,
    /// List the plugins that a configuration may name, or show one with its keys
    Plugins(plugins::PluginsArgs),
    /// List the venues of which the protocol is known, or show one
    Profiles(profiles::ProfilesArgs),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Record an exchange of its own on loopback: no network, no configuration
    Demo(demo::DemoArgs),
}

/// Why a command failed; decides the exit code.
enum CliError {
    /// The command line cannot be understood.
    Usage(String),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Runs the program with the plugins of this registry: reads the command line, does what it says
/// and gives the exit code.
#[expect(clippy::needless_pass_by_value, reason = "a `main` has no more use for it")]
pub fn main(registry: Registry) -> ExitCode {
    match dispatch(&registry, std::env::args_os().collect()) {
        Ok(code) => code,
        Err(failure) => report_error(&failure),
    }
}

fn dispatch(registry: &Registry, args: Vec<OsString>) -> Result<ExitCode, CliError> {
    let args = go_flags::normalize(args, &Cli::command()).map_err(CliError::Usage)?;
    let parsed = Cli::command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(message) => {
            // `--help` and `--version` come this way too. There is nobody left to tell if the
            // terminal is gone.
            drop(message.print());
            return Ok(ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2)));
        }
    };
    let file = cli.config.as_path();
    match (cli.command, cli.status) {
        (None, true) => query_status(file, false),
        (Some(Command::Status { json }), _) => query_status(file, json),
        (Some(_), true) => {
            Err(CliError::Usage("-status stands alone: it is the command `status`".to_owned()))
        }
        (None | Some(Command::Run), false) => run::run(file, cli.debug, registry),
        (Some(Command::Check { json }), false) => check::check(file, json, registry),
        (Some(Command::Archive(args)), false) => archive::archive(&args, file, registry),
        (Some(Command::Ls(args)), false) => ls::ls(&args, file, registry),
        (Some(Command::Gaps(args)), false) => gaps::gaps(&args, file, registry),
        (Some(Command::Report(args)), false) => report::report(&args, file, registry),
        (Some(Command::Cat(args)), false) => cat::cat(&args, file, registry),
        (Some(Command::Verify(args)), false) => verify::verify(&args, file, registry),
        (Some(Command::Init), false) => init::init(file, registry),
        (Some(Command::Plugins(args)), false) => plugins::plugins(&args, registry),
        (Some(Command::Profiles(args)), false) => profiles::profiles(&args),
        (Some(Command::Schema), false) => print(&schema_text(registry)),
        (Some(Command::Demo(args)), false) => demo::demo(&args, registry),
    }
}

fn query_status(file: &Path, json: bool) -> Result<ExitCode, CliError> {
    let Some(socket) = Config::load_status_socket(file)? else {
        let message = format!("`{}` names no `status_socket` to ask", file.display());
        return Err(anyhow::anyhow!(message).into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let snapshot = runtime
        .block_on(crate::recorder::status::query_status(&socket))
        .map_err(anyhow::Error::from)?;
    if json {
        print(&(serde_json::to_string_pretty(&snapshot).unwrap_or_default() + "\n"))
    } else {
        print(&format!("{snapshot}\n"))
    }
}

fn schema_text(registry: &Registry) -> String {
    serde_json::to_string_pretty(&registry.schema()).unwrap_or_default() + "\n"
}

/// Data goes to stdout. Whoever stops reading has enough.
fn print(text: &str) -> Result<ExitCode, CliError> {
    ignore_broken_pipe(io::stdout().write_all(text.as_bytes()))
}

fn ignore_broken_pipe(written: io::Result<()>) -> Result<ExitCode, CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to stdout").into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Words on stderr.
#[expect(clippy::print_stderr, reason = "data goes to stdout, words go here")]
fn print_stderr(text: &str) {
    eprintln!("{text}");
}

/// Words go to stderr.
#[expect(clippy::print_stderr, reason = "this is where errors meet their reader")]
fn report_error(failure: &CliError) -> ExitCode {
    match failure {
        CliError::Usage(message) => {
            eprintln!("error: {message}\nTry `streamer --help`.");
            ExitCode::from(2)
        }
        CliError::Config(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
        CliError::Other(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

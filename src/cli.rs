//! The command line: parses flags, loads the configuration, runs a command and maps errors to exit
//! codes.

mod archive;
mod archive_args;
mod archive_reader;
mod cat;
mod check;
mod cli_error;
mod demo;
mod format;
mod gap_row;
mod gaps;
mod go_flags;
mod init;
mod ls;
mod output;
mod path_arg;
mod plugins;
mod profiles;
mod program;
mod progress;
mod reload;
mod report;
mod run;
mod selection_args;
mod status;
mod stem_patterns;
mod time_arg;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::cli_error::CliError;
use self::output::{OutputFormat, print_json};
use self::path_arg::path_parser;
pub use self::program::Program;
use crate::config::config_schema;
use crate::recorder::logging::print_warnings;
use crate::registry::Registry;

const AFTER_HELP: &str = "\
Long flags take one dash or two: -config FILE is --config FILE.
Without a command, streamer records: `streamer -config FILE` is `streamer run -config FILE`.
Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 130 second Ctrl-C.";

/// Records WebSocket feeds verbatim into hourly JSONL files, unattended.
#[derive(Parser)]
#[command(name = "streamer", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Path of the configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = "config.json", value_parser = path_parser())]
    config: PathBuf,
    /// Log to stdout as well, whatever the configuration says, and in more detail
    #[arg(long, global = true)]
    debug: bool,
    /// Print the status of the running recorder and exit; the same as the command `status`
    #[arg(long)]
    status: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Record until SIGINT or SIGTERM
    Run,
    /// Print the status of the running recorder
    Status(status::StatusArgs),
    /// Make the running recorder reload its configuration, and print what was done
    Reload {
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration and print what it would run
    Check {
        /// Print the explicit form, with every default filled in, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Seal closed hours and apply the retention limits once
    Archive(archive::ArchiveArgs),
    /// List the hours with their messages, sizes, states and gaps
    Ls(ls::LsArgs),
    /// Print the lines of the archive, in the order of time
    Cat(cat::CatArgs),
    /// List the gaps: the times at which messages may be missing, and the causes
    Gaps(gaps::GapsArgs),
    /// Show the archive as a chart: a row per day, a column per hour
    Report(report::ReportArgs),
    /// Verify every hour: checksums, counts and hashes against the journal
    Verify(verify::VerifyArgs),
    /// Write a configuration to start from, with its schema beside it
    Init,
    /// List the plugins that a configuration may name, or show one with its keys
    Plugins(plugins::PluginsArgs),
    /// List the venues whose protocol is built in, or show one
    Profiles(profiles::ProfilesArgs),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print the completions of a shell; `streamer completions bash > FILE` writes them
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Record a simulated exchange on loopback, without a network or a configuration
    Demo(demo::DemoArgs),
}

/// Runs the program with the plugins of the registry: parses the command line, runs the command and
/// returns the exit code.
pub fn main(registry: Registry) -> ExitCode {
    main_as(program::STREAMER, registry)
}

/// Runs the program like [`main`], with a name and a version of its own.
#[expect(clippy::needless_pass_by_value, reason = "a `main` does not use the registry afterwards")]
pub fn main_as(program: Program, registry: Registry) -> ExitCode {
    match dispatch(program, &registry, std::env::args_os().collect()) {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

fn dispatch(
    program: Program,
    registry: &Registry,
    args: Vec<OsString>,
) -> Result<ExitCode, CliError> {
    let command = Cli::command().name(program.name).version(program.version);
    let args = go_flags::normalize(args, &command).map_err(CliError::Usage)?;
    let parsed = command
        .clone()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(message) => {
            // `--help` and `--version` arrive here as well. When the terminal is gone, nobody
            // reads the message.
            drop(message.print());
            return Ok(ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2)));
        }
    };
    if !matches!(cli.command, None | Some(Command::Run | Command::Demo(_))) {
        print_warnings();
    }
    let file = cli.config.as_path();
    match (cli.command, cli.status) {
        (None, true) => status::status(&status::StatusArgs::default(), file),
        (Some(Command::Status(args)), _) => status::status(&args, file),
        (Some(_), true) => {
            let message = "-status is the command `status` and cannot be combined with a command";
            Err(CliError::Usage(message.to_owned()))
        }
        (None | Some(Command::Run), false) => run::run(file, cli.debug, registry),
        (Some(Command::Reload { json }), false) => {
            reload::reload(file, OutputFormat::from_flag(json))
        }
        (Some(Command::Check { json }), false) => {
            check::check(file, OutputFormat::from_flag(json), registry)
        }
        (Some(Command::Archive(args)), false) => archive::archive(&args, file, registry),
        (Some(Command::Ls(args)), false) => ls::ls(&args, file, registry),
        (Some(Command::Gaps(args)), false) => gaps::gaps(&args, file, registry),
        (Some(Command::Report(args)), false) => report::report(&args, file, registry),
        (Some(Command::Cat(args)), false) => cat::cat(&args, file, registry),
        (Some(Command::Verify(args)), false) => verify::verify(&args, file, registry),
        (Some(Command::Init), false) => init::init(file, registry),
        (Some(Command::Plugins(args)), false) => plugins::plugins(&args, registry),
        (Some(Command::Profiles(args)), false) => profiles::profiles(&args),
        (Some(Command::Schema), false) => {
            print_json(&config_schema(registry))?;
            Ok(ExitCode::SUCCESS)
        }
        (Some(Command::Completions { shell }), false) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), program.name, &mut script);
            output::print(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
        (Some(Command::Demo(args)), false) => demo::demo(&args, registry),
    }
}

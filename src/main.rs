//! The `streamer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    streamer::cli::main(streamer::Registry::builtin())
}

//! `cargo xtask …`: the tasks of developers and of CI.

mod ci;
mod layers;
mod schema;
mod test_run;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
cargo xtask ci                run the checks of CI: formatting, lints, tests, docs, schema, demo
cargo xtask schema [--check]  write schema/config.schema.json, or check that it is up to date
cargo xtask layers            check which file of src may use which
cargo xtask bench [OPTIONS]   measure the recorder against a floor; `cargo xtask bench --help`
cargo xtask soak [OPTIONS]    inject faults into a running recorder, then check its archive; `--help`
cargo xtask conformance       run the Autobahn test suite against the recorder; `--help`";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["ci"] => ci::ci(),
        ["layers"] => layers::layers(),
        ["schema"] => schema::schema(schema::Mode::Write),
        ["schema", "--check"] => schema::schema(schema::Mode::Check),
        ["bench", options @ ..] => with_release("streamer-bench", options),
        ["conformance", options @ ..] => with_release("streamer-conformance", options),
        ["soak", options @ ..] => with_release("streamer-soak", options),
        _ => bail!("usage:\n{USAGE}"),
    }
}

/// Builds the recorder in release mode and runs a package that needs it.
fn with_release(package: &str, options: &[&str]) -> Result<()> {
    cargo(&["build", "--locked", "--release", "--package", "streamer"])?;
    let run = ["run", "--locked", "--release", "--package", package, "--"];
    cargo(&[&run, options].concat())
}

/// Runs cargo in the root of the workspace.
fn cargo(args: &[&str]) -> Result<()> {
    cargo_with_env(args, &[])
}

fn cargo_with_env(args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    report(&format!("+ cargo {}", args.join(" ")));
    let status = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(args)
        .envs(env.iter().copied())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", args.join(" "));
    }
    Ok(())
}

fn root() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/..")
}

#[expect(clippy::print_stderr, reason = "this is where messages meet their reader")]
fn report(message: &str) {
    eprintln!("{message}");
}

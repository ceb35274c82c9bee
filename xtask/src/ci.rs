//! `cargo xtask ci`: the checks that every change must pass.

use anyhow::Result;

use crate::layers::layers;
use crate::schema::{Mode, schema};
use crate::test_run::run_tests;
use crate::{cargo, cargo_with_env, with_release};

pub(crate) fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    layers()?;
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo(&clippy)?;
    cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"])?;
    run_tests()?;
    let docs = ["doc", "--locked", "--workspace", "--no-deps"];
    cargo_with_env(&docs, &[("RUSTDOCFLAGS", "-D warnings")])?;
    schema(Mode::Check)?;
    for (package, config) in [
        ("custom-source", "docs/examples/custom_source/config.json"),
        ("custom-stage", "docs/examples/custom_stage/config.json"),
        ("custom-sink", "docs/examples/custom_sink/config.json"),
    ] {
        cargo(&["run", "--locked", "-p", package, "--", "check", "-config", config])?;
    }
    // The demo of the README, for a shorter time.
    let demo = ["run", "--locked", "--release", "--", "demo", "--seconds", "2"];
    cargo(&[&demo[..], &["--dir", "target/demo"]].concat())?;
    with_release("streamer-soak", &["--account", "--seconds", "120", "--seed", "2"])
}

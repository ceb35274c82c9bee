//! The test step of `cargo xtask ci`, which also reports the slowest tests.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, report, root};

/// The number of tests that are listed at the end.
const LISTED: usize = 10;
/// The test programs report times only with unstable options. The variable is set for them alone:
/// in the environment of cargo it would build every crate anew.
const RUNNER: &str = r#"target."cfg(all())".runner = ["env", "RUSTC_BOOTSTRAP=1"]"#;

/// Runs all tests of the workspace and lists the slowest ones, also when a test fails.
pub(crate) fn run_tests() -> Result<()> {
    let kinds = ["--lib", "--bins", "--tests", "--examples"];
    let options = ["--", "-Zunstable-options", "--report-time"];
    let test = ["test", "--locked", "--workspace", "--config", RUNNER];
    run_timed(&[&test[..], &kinds, &options].concat())?;
    // The harness of documentation tests takes no unstable options.
    cargo(&["test", "--locked", "--workspace", "--doc"])
}

#[expect(clippy::print_stdout, reason = "what cargo prints is passed on")]
fn run_timed(args: &[&str]) -> Result<()> {
    report(&format!("+ cargo {}", args.join(" ")));
    let mut child = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut times = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo prints")?;
        println!("{line}");
        times.extend(parse_time(&line));
    }
    let status = child.wait()?;
    report_slowest(times);
    if !status.success() {
        bail!("`cargo {}` failed ({status})", args.join(" "));
    }
    Ok(())
}

/// Returns the seconds and the name out of a line such as `test archive::seals ... ok <1.250s>`.
fn parse_time(line: &str) -> Option<(f64, String)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let (_, seconds) = outcome.strip_suffix("s>")?.rsplit_once('<')?;
    Some((seconds.parse().ok()?, name.to_owned()))
}

fn report_slowest(mut times: Vec<(f64, String)>) {
    times.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    report("The slowest tests:");
    for (seconds, name) in times.iter().take(LISTED) {
        report(&format!("{seconds:>8.3} s  {name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_lines_of_tests_alone() {
        let time = |line| parse_time(line).map(|(seconds, name)| format!("{seconds} {name}"));
        assert_eq!(time("test a::b ... ok <1.250s>").as_deref(), Some("1.25 a::b"));
        assert_eq!(time("test a::b ... FAILED <0.001s>").as_deref(), Some("0.001 a::b"));
        assert_eq!(time("test a::b ... ignored"), None);
        assert_eq!(time("test result: ok. 3 passed; finished in 0.10s"), None);
    }
}

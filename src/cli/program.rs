//! The name and the version of a program.

/// Name and version of a program, as `--version` and `--help` print them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Name, such as `my-tool`.
    pub name: &'static str,
    /// Version, such as `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
}

/// The program `streamer` itself.
pub(super) const STREAMER: Program =
    Program { name: "streamer", version: env!("CARGO_PKG_VERSION") };

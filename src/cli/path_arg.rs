//! The paths of the command line.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::base::path_text::{PathTextError, check_path_text};

/// Returns a parser of paths that refuses what a shell should have replaced: it leaves `--dir=~/x`
/// as it is.
pub(super) fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        check_path_text(&path)?;
        Ok::<_, PathTextError>(path)
    })
}

//! Accepts Go's spelling of flags: `-config F` beside `--config F`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{ArgAction, Command};

use crate::base::suggest::did_you_mean;

/// Returns the arguments with two dashes in front of every known long flag, and with Go's
/// `-flag=true` and `-flag=false` as clap expects them. Arguments after `--` stay as they are.
///
/// # Errors
/// An argument with one dash is no known flag; the message suggests one.
pub(super) fn normalize(args: Vec<OsString>, command: &Command) -> Result<Vec<OsString>, String> {
    let flags = long_flags(command);
    let mut args = args.into_iter();
    let mut normal: Vec<OsString> = args.next().into_iter().collect();
    while let Some(arg) = args.next() {
        if arg == "--" {
            normal.push(arg);
            normal.extend(args);
            break;
        }
        let text = arg.to_string_lossy().into_owned();
        let bare = text.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        let Some(bare) = bare.filter(|bare| bare.len() > 1) else {
            normal.push(arg);
            continue;
        };
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (bare, None),
        };
        match (flags.get(name), value) {
            (Some(FlagKind::Switch), Some("false")) => {}
            (Some(FlagKind::Switch), Some("true")) => normal.push(format!("--{name}").into()),
            (Some(FlagKind::Value), None) => {
                let mut flag = OsString::from(format!("--{name}"));
                if let Some(value) = args.next() {
                    // Joined by `=`, because the value may begin with a dash.
                    flag.push("=");
                    flag.push(value);
                }
                normal.push(flag);
            }
            (Some(_), _) => normal.push(format!("--{bare}").into()),
            (None, _) if text.starts_with("--") => normal.push(arg),
            (None, _) => {
                let hint = did_you_mean(name, flags.keys().map(String::as_str));
                return Err(format!("unknown flag `-{name}`{hint}"));
            }
        }
    }
    Ok(normal)
}

#[derive(Debug, Clone, Copy)]
enum FlagKind {
    /// A flag without a value.
    Switch,
    /// A flag that takes the next argument.
    Value,
}

/// Returns the long flags of the program and of all its commands.
fn long_flags(command: &Command) -> BTreeMap<String, FlagKind> {
    let mut flags = BTreeMap::from([
        ("help".to_owned(), FlagKind::Switch),
        ("version".to_owned(), FlagKind::Switch),
    ]);
    for command in std::iter::once(command).chain(command.get_subcommands()) {
        for arg in command.get_arguments() {
            let kind = match arg.get_action() {
                ArgAction::Set | ArgAction::Append => FlagKind::Value,
                _ => FlagKind::Switch,
            };
            if let Some(long) = arg.get_long() {
                flags.insert(long.to_owned(), kind);
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn normalize_strs(args: &[&str]) -> Result<Vec<String>, String> {
        let args = std::iter::once("streamer").chain(args.iter().copied());
        let normal = normalize(args.map(OsString::from).collect(), &super::super::Cli::command())?;
        Ok(normal.into_iter().skip(1).map(|arg| arg.into_string().unwrap()).collect())
    }

    #[test]
    fn long_flags_take_one_dash_or_two() {
        for spelling in [["-config", "x"], ["--config", "x"]] {
            assert_eq!(normalize_strs(&spelling).unwrap(), ["--config=x"]);
        }
        assert_eq!(normalize_strs(&["-config=x", "-status"]).unwrap(), ["--config=x", "--status"]);
        assert_eq!(normalize_strs(&["status", "-json"]).unwrap(), ["status", "--json"]);
        assert_eq!(normalize_strs(&["-help"]).unwrap(), ["--help"]);
        assert_eq!(normalize_strs(&["-h"]).unwrap(), ["-h"]);
    }

    #[test]
    fn boolean_flags_take_true_and_false() {
        assert_eq!(normalize_strs(&["-debug=false"]).unwrap(), [""; 0]);
        assert_eq!(normalize_strs(&["-debug=true"]).unwrap(), ["--debug"]);
    }

    #[test]
    fn values_may_look_like_flags() {
        assert_eq!(normalize_strs(&["-config", "-debug"]).unwrap(), ["--config=-debug"]);
        assert_eq!(normalize_strs(&["--", "-debug"]).unwrap(), ["--", "-debug"]);
    }

    #[test]
    fn an_unknown_flag_is_rejected_with_a_suggestion() {
        assert_eq!(
            normalize_strs(&["-cofnig", "x"]).unwrap_err(),
            "unknown flag `-cofnig`, did you mean `config`?"
        );
    }
}

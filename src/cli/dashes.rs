//! Go's spelling of flags: `-config F` beside `--config F`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{ArgAction, Command};

use crate::suggest::did_you_mean;

/// Writes known long flags with two dashes, and Go's `-flag=true` and `-flag=false` as clap
/// knows them. Stops at `--`.
///
/// # Errors
/// A flag of one dash that is none, with a suggestion.
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
            (Some(Takes::Nothing), Some("false")) => {}
            (Some(Takes::Nothing), Some("true")) => normal.push(format!("--{name}").into()),
            (Some(Takes::Value), None) => {
                let mut flag = OsString::from(format!("--{name}"));
                if let Some(value) = args.next() {
                    // Joined, since the value may begin with a dash.
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
enum Takes {
    Nothing,
    Value,
}

fn long_flags(command: &Command) -> BTreeMap<String, Takes> {
    let mut flags = BTreeMap::from([
        ("help".to_owned(), Takes::Nothing),
        ("version".to_owned(), Takes::Nothing),
    ]);
    for command in std::iter::once(command).chain(command.get_subcommands()) {
        for arg in command.get_arguments() {
            let takes = match arg.get_action() {
                ArgAction::Set | ArgAction::Append => Takes::Value,
                _ => Takes::Nothing,
            };
            if let Some(long) = arg.get_long() {
                flags.insert(long.to_owned(), takes);
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn normal(args: &[&str]) -> Result<Vec<String>, String> {
        let args = std::iter::once("streamer").chain(args.iter().copied());
        let normal = normalize(args.map(OsString::from).collect(), &super::super::Cli::command())?;
        Ok(normal.into_iter().skip(1).map(|arg| arg.into_string().unwrap()).collect())
    }

    #[test]
    fn one_dash_or_two() {
        for spelling in [["-config", "x"], ["--config", "x"]] {
            assert_eq!(normal(&spelling).unwrap(), ["--config=x"]);
        }
        assert_eq!(normal(&["-config=x", "-status"]).unwrap(), ["--config=x", "--status"]);
        assert_eq!(normal(&["status", "-json"]).unwrap(), ["status", "--json"]);
        assert_eq!(normal(&["-help"]).unwrap(), ["--help"]);
        assert_eq!(normal(&["-h"]).unwrap(), ["-h"]);
    }

    #[test]
    fn gos_booleans() {
        assert_eq!(normal(&["-debug=false"]).unwrap(), [""; 0]);
        assert_eq!(normal(&["-debug=true"]).unwrap(), ["--debug"]);
    }

    #[test]
    fn values_may_look_like_flags() {
        assert_eq!(normal(&["-config", "-debug"]).unwrap(), ["--config=-debug"]);
        assert_eq!(normal(&["--", "-debug"]).unwrap(), ["--", "-debug"]);
    }

    #[test]
    fn a_typo_is_named_with_what_was_meant() {
        assert_eq!(
            normal(&["-cofnig", "x"]).unwrap_err(),
            "unknown flag `-cofnig`, did you mean `config`?"
        );
    }
}

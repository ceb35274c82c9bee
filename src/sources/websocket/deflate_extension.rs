//! The agreement on permessage-deflate (RFC 7692, section 7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the server may compress its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeflateMode {
    /// It may: less traffic, a little more work for the processor.
    #[default]
    Auto,
    /// It may not.
    Off,
}

/// What is offered to the server. We send so little that we compress nothing.
pub(super) const DEFLATE_OFFER: &str = "permessage-deflate; client_no_context_takeover";

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeflateParams {
    /// Whether a message of the server may refer to those before it.
    pub(super) server_context_takeover: bool,
}

/// Reads the `Sec-WebSocket-Extensions` of the server's answer: `None` where it agrees to nothing.
///
/// # Errors
/// What was not offered, or is malformed: the connection must then be given up (7.1, and RFC 6455,
/// 4.1).
pub(super) fn parse_accepted_extensions(
    answer: &[&str],
    offered: bool,
) -> Result<Option<DeflateParams>, String> {
    let answer = answer.join(", ");
    let mut extensions = answer.split(',').map(str::trim).filter(|text| !text.is_empty());
    let Some(extension) = extensions.next() else { return Ok(None) };
    let fault = |what: &str| format!("the server's extensions `{answer}`: {what}");
    if extensions.next().is_some() {
        return Err(fault("one at the most was offered"));
    }
    let mut parameters = extension.split(';').map(str::trim);
    if !offered || parameters.next() != Some("permessage-deflate") {
        return Err(fault("it was not offered"));
    }
    let mut agreed = DeflateParams { server_context_takeover: true };
    let mut seen = Vec::new();
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        if seen.contains(&name) {
            return Err(fault(&format!("`{name}` stands there twice")));
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover", None) => agreed.server_context_takeover = false,
            ("client_no_context_takeover", None) => {}
            // Any window fits into ours, which is the largest.
            ("server_max_window_bits", Some(bits))
                if bits.parse().is_ok_and(|bits: u8| (8..=15).contains(&bits)) => {}
            _ => return Err(fault(&format!("`{parameter}` was not offered, or is malformed"))),
        }
    }
    Ok(Some(agreed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_parameters_are_parsed() {
        let keeps =
            |keeps_context| Ok(Some(DeflateParams { server_context_takeover: keeps_context }));
        assert_eq!(parse_accepted_extensions(&[], true), Ok(None));
        assert_eq!(parse_accepted_extensions(&[], false), Ok(None));
        assert_eq!(parse_accepted_extensions(&["permessage-deflate"], true), keeps(true));
        let answer = "permessage-deflate; server_no_context_takeover;server_max_window_bits=\"12\"";
        assert_eq!(parse_accepted_extensions(&[answer], true), keeps(false));
        let answer = "permessage-deflate; client_no_context_takeover; server_max_window_bits = 9";
        assert_eq!(parse_accepted_extensions(&[answer], true), keeps(true));
    }

    #[test]
    fn unoffered_or_malformed_extensions_are_rejected() {
        assert!(parse_accepted_extensions(&["permessage-deflate"], false).is_err());
        for answer in [
            "x-webkit-deflate-frame",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; color=blue",
        ] {
            assert!(parse_accepted_extensions(&[answer], true).is_err(), "{answer}");
        }
        assert!(
            parse_accepted_extensions(&["permessage-deflate", "permessage-deflate"], true).is_err()
        );
    }
}

//! The negotiation of permessage-deflate (RFC 7692, section 7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::frame_decoder::ContextTakeover;

/// The use of compression (permessage-deflate, RFC 7692).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeflateMode {
    /// The server may compress its messages: less traffic, a little more work for the processor.
    #[default]
    Auto,
    /// The server may not compress its messages.
    Off,
}

/// The extension as it is offered to the server. The client sends so little that it compresses
/// nothing.
pub(super) const DEFLATE_OFFER: &str = "permessage-deflate; client_no_context_takeover";

/// Parses the values of `Sec-WebSocket-Extensions` in the server's response.
///
/// Returns `None` if the server accepts no extension.
///
/// # Errors
/// The response accepts more than was offered, or is malformed. The connection must then be closed
/// (RFC 7692, 7.1, and RFC 6455, 4.1).
pub(super) fn parse_accepted_extensions(
    values: &[&str],
    mode: DeflateMode,
) -> Result<Option<ContextTakeover>, String> {
    let response = values.join(", ");
    let mut extensions = response.split(',').map(str::trim).filter(|text| !text.is_empty());
    let Some(extension) = extensions.next() else { return Ok(None) };
    let fault = |reason: &str| format!("the server accepted the extensions `{response}`: {reason}");
    if extensions.next().is_some() {
        return Err(fault("at most one was offered"));
    }
    let mut parameters = extension.split(';').map(str::trim);
    if mode == DeflateMode::Off || parameters.next() != Some("permessage-deflate") {
        return Err(fault("it was not offered"));
    }
    let mut context_takeover = ContextTakeover::Keep;
    let mut seen = Vec::new();
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        if seen.contains(&name) {
            return Err(fault(&format!("`{name}` occurs twice")));
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover", None) => context_takeover = ContextTakeover::Reset,
            ("client_no_context_takeover", None) => {}
            // The decoder's window is the largest one, so that any other fits into it.
            ("server_max_window_bits", Some(bits))
                if bits.parse().is_ok_and(|bits: u8| (8..=15).contains(&bits)) => {}
            _ => return Err(fault(&format!("`{parameter}` was not offered or is malformed"))),
        }
    }
    Ok(Some(context_takeover))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(values: &[&str]) -> Result<Option<ContextTakeover>, String> {
        parse_accepted_extensions(values, DeflateMode::Auto)
    }

    #[test]
    fn accepted_parameters_are_parsed() {
        assert_eq!(accepted(&[]), Ok(None));
        assert_eq!(parse_accepted_extensions(&[], DeflateMode::Off), Ok(None));
        assert_eq!(accepted(&["permessage-deflate"]), Ok(Some(ContextTakeover::Keep)));
        let answer = "permessage-deflate; server_no_context_takeover;server_max_window_bits=\"12\"";
        assert_eq!(accepted(&[answer]), Ok(Some(ContextTakeover::Reset)));
        let answer = "permessage-deflate; client_no_context_takeover; server_max_window_bits = 9";
        assert_eq!(accepted(&[answer]), Ok(Some(ContextTakeover::Keep)));
    }

    #[test]
    fn unoffered_or_malformed_extensions_are_rejected() {
        assert!(parse_accepted_extensions(&["permessage-deflate"], DeflateMode::Off).is_err());
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
            assert!(accepted(&[answer]).is_err(), "{answer}");
        }
        assert!(accepted(&["permessage-deflate", "permessage-deflate"]).is_err());
    }
}

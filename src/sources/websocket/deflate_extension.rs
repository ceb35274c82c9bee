//! The negotiation of permessage-deflate (RFC 7692, section 7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http_response::HttpResponse;

/// The use of compression (permessage-deflate, RFC 7692).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeflateMode {
    /// The server may compress its messages: less traffic, a little more work for the processor. A
    /// server whose compression is faulty is asked for messages without it.
    #[default]
    Auto,
    /// The server may not compress its messages.
    Off,
}

/// Header of the offer and of the answer to it.
pub(super) const EXTENSIONS_HEADER: &str = "Sec-WebSocket-Extensions";
/// The extension as it is offered to the server. The client sends so little that it compresses
/// nothing.
pub(super) const DEFLATE_OFFER: &str = "permessage-deflate; client_no_context_takeover";
/// Parameters of the extension. The decoder has the largest window and keeps it from one message to
/// the next, so that it inflates whatever they allow the server; and the client compresses nothing.
const HARMLESS_PARAMETERS: [&str; 4] = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
];

/// Returns whether the server accepts the compression that was offered.
///
/// # Errors
/// The response accepts more than was offered. The connection must then be closed (RFC 7692, 7.1, and
/// RFC 6455, 4.1): an extension may change what the bytes of a frame mean (RFC 6455, 9.1), and a
/// recording of frames that were misread is worse than a gap.
pub(super) fn accepts_deflate(response: &HttpResponse) -> Result<bool, String> {
    let mut extensions = response.list(EXTENSIONS_HEADER);
    let Some(extension) = extensions.next() else { return Ok(false) };
    let fault = |reason: String| {
        let answer: Vec<_> = response.list(EXTENSIONS_HEADER).collect();
        format!("the server accepted the extensions `{}`: {reason}", answer.join(", "))
    };
    if extensions.next().is_some() {
        return Err(fault("at most one was offered".to_owned()));
    }
    let mut parameters = extension.split(';').map(str::trim);
    if !parameters.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) {
        return Err(fault("it was not offered, and may change what a frame means".to_owned()));
    }
    let is_harmless = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default().trim();
        HARMLESS_PARAMETERS.iter().any(|harmless| name.eq_ignore_ascii_case(harmless))
    };
    match parameters.find(|parameter| !parameter.is_empty() && !is_harmless(parameter)) {
        None => Ok(true),
        Some(parameter) => Err(fault(format!("`{parameter}` is unknown"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(values: &[&str]) -> Result<bool, String> {
        let mut head = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
        for value in values {
            head = format!("{head}{EXTENSIONS_HEADER}: {value}\r\n");
        }
        head.push_str("\r\n");
        accepts_deflate(&HttpResponse::parse(&head))
    }

    #[test]
    fn parameters_that_change_nothing_for_the_decoder_are_taken() {
        assert_eq!(accepted(&[]), Ok(false));
        assert_eq!(accepted(&[" , "]), Ok(false));
        for answer in [
            "permessage-deflate",
            "Permessage-Deflate",
            "permessage-deflate;",
            "permessage-deflate; server_no_context_takeover;server_max_window_bits=\"12\"",
            "permessage-deflate; client_no_context_takeover; SERVER_MAX_WINDOW_BITS = 9",
            "permessage-deflate; client_max_window_bits=15",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        ] {
            assert_eq!(accepted(&[answer]), Ok(true), "{answer}");
        }
    }

    #[test]
    fn extensions_that_were_not_offered_are_faults() {
        for answer in [
            "x-webkit-deflate-frame",
            "permessage-bzip2",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate, x-webkit-deflate-frame",
            "permessage-deflate; color=blue",
            "permessage-deflate; server_no_context_takeover, permessage-deflate",
        ] {
            assert!(accepted(&[answer]).is_err(), "{answer}");
        }
        let error = accepted(&["permessage-deflate", "permessage-deflate"]).unwrap_err();
        assert!(error.ends_with("at most one was offered"), "{error}");
    }
}

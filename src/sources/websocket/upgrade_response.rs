//! The check of the response that accepts a WebSocket connection (RFC 6455, 4.1).

use super::http_response::HttpResponse;

/// Header of the subprotocols that are asked for, and of the one that the server chose.
pub(super) const PROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// A response with status 101 that accepts no WebSocket connection, or another one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error(
        "the server answered 101 without `{0}`: something between may have taken it away, or the server does not speak WebSocket at this path"
    )]
    MissingHeader(&'static str),
    #[error(
        "the server answered 101 with a `Sec-WebSocket-Accept` that does not match the key that was sent: the answer is not one to this request, or the server does not speak WebSocket"
    )]
    WrongAccept,
    #[error(
        "the server chose the subprotocol `{0}`, which was not asked for: if its messages are wanted, ask for it with \"headers\": {{ \"Sec-WebSocket-Protocol\": \"{0}\" }}"
    )]
    UnknownProtocol(String),
}

/// The server's answer to the subprotocols that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProtocolAnswer {
    /// The server chose one of them, or none was asked for.
    Agreed,
    /// The server chose none.
    Ignored,
}

/// Checks that the response accepts the connection that was asked for with a key of which
/// `accept_key` is derived, and with a list of subprotocols.
pub(super) fn check_upgrade(
    response: &HttpResponse,
    accept_key: &str,
    asked_protocols: Option<&str>,
) -> Result<ProtocolAnswer, UpgradeError> {
    if !response.list_contains("Upgrade", "websocket") {
        return Err(UpgradeError::MissingHeader("Upgrade: websocket"));
    }
    if !response.list_contains("Connection", "upgrade") {
        return Err(UpgradeError::MissingHeader("Connection: Upgrade"));
    }
    let mut accepts = response.values("Sec-WebSocket-Accept").peekable();
    if accepts.peek().is_none() {
        return Err(UpgradeError::MissingHeader("Sec-WebSocket-Accept"));
    }
    if accepts.any(|accept| accept != accept_key) {
        return Err(UpgradeError::WrongAccept);
    }
    let asked: Vec<_> = split_list(asked_protocols.unwrap_or_default()).collect();
    let mut chosen = response.list(PROTOCOL_HEADER).peekable();
    if chosen.peek().is_none() && !asked.is_empty() {
        return Ok(ProtocolAnswer::Ignored);
    }
    // Some servers repeat the whole list.
    let is_asked = |chosen: &&str| asked.iter().any(|asked| asked.eq_ignore_ascii_case(chosen));
    match chosen.find(|protocol| !is_asked(protocol)) {
        None => Ok(ProtocolAnswer::Agreed),
        Some(unknown) => Err(UpgradeError::UnknownProtocol(unknown.to_owned())),
    }
}

fn split_list(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &str, asked: Option<&str>) -> Result<ProtocolAnswer, UpgradeError> {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\n{headers}\r\n");
        check_upgrade(&HttpResponse::parse(&head), "k=", asked)
    }

    #[test]
    fn headers_are_lists_of_tokens_in_any_case() {
        for headers in [
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: k=\r\n",
            "UPGRADE: WebSocket\r\nCONNECTION: keep-alive, upgrade\r\nSEC-WEBSOCKET-ACCEPT:k= \r\n",
            "upgrade: h2c, websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\nSec-WebSocket-Accept:\t k=\r\nSec-WebSocket-Accept: k=\r\n",
        ] {
            assert_eq!(check(headers, None), Ok(ProtocolAnswer::Agreed), "{headers}");
        }
    }

    #[test]
    fn a_response_that_lacks_what_the_rfc_demands_is_refused() {
        let missing = |name| Err(UpgradeError::MissingHeader(name));
        let accept = "Sec-WebSocket-Accept: k=\r\n";
        let connection = "Connection: Upgrade\r\n";
        let upgrade = "Upgrade: websocket\r\n";
        assert_eq!(check(&[connection, accept].concat(), None), missing("Upgrade: websocket"));
        assert_eq!(check(&[upgrade, accept].concat(), None), missing("Connection: Upgrade"));
        assert_eq!(check(&[upgrade, connection].concat(), None), missing("Sec-WebSocket-Accept"));
        for wrong in ["", "K=", "k", "k=\r\nSec-WebSocket-Accept: j="] {
            let headers = format!("{upgrade}{connection}Sec-WebSocket-Accept: {wrong}\r\n");
            assert_eq!(check(&headers, None), Err(UpgradeError::WrongAccept), "{wrong}");
        }
        let headers = format!("Upgrade: websockets\r\n{connection}{accept}");
        assert_eq!(check(&headers, None), missing("Upgrade: websocket"));
    }

    #[test]
    fn a_subprotocol_that_was_not_asked_for_is_refused_and_none_is_taken() {
        let check = |chosen: &str, asked| {
            let headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: k=";
            check(&format!("{headers}\r\n{chosen}\r\n"), asked)
        };
        assert_eq!(check("", Some("v1, v2")), Ok(ProtocolAnswer::Ignored));
        assert_eq!(check("Sec-WebSocket-Protocol:", Some("v1")), Ok(ProtocolAnswer::Ignored));
        assert_eq!(check("Sec-WebSocket-Protocol:", None), Ok(ProtocolAnswer::Agreed));
        assert_eq!(check("Sec-WebSocket-Protocol: v2", Some("v1,v2")), Ok(ProtocolAnswer::Agreed));
        assert_eq!(
            check("sec-websocket-protocol: v1, v2", Some("v1,v2")),
            Ok(ProtocolAnswer::Agreed)
        );
        let unknown = |name: &str| Err(UpgradeError::UnknownProtocol(name.to_owned()));
        assert_eq!(check("Sec-WebSocket-Protocol: v3", Some("v1, v2")), unknown("v3"));
        assert_eq!(check("Sec-WebSocket-Protocol: v1", None), unknown("v1"));
    }
}

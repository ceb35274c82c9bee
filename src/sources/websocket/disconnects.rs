//! The causes of failed handshakes and broken streams.

use std::io;

use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::header::{LOCATION, RETRY_AFTER};

use super::certificate_advice::explain_tls_error;
use super::quote::{quote, shown_url};
use super::retry_after::parse_retry_after;
use crate::base::time::{Clock, SystemClock, UnixNanos};
use crate::plugin::{Disconnect, DownCause};

/// Classifies an I/O error of an open stream.
pub(super) fn io_disconnect(error: &io::Error) -> Disconnect {
    match error.kind() {
        // The kind of a TLS stream that ends without a `close_notify` alert.
        io::ErrorKind::UnexpectedEof => Disconnect::new(DownCause::Eof, error.to_string()),
        _ if is_tls_error(error) => Disconnect::new(DownCause::Tls, tls_error_text(error)),
        _ => Disconnect::new(DownCause::Io, error.to_string()),
    }
}

/// Classifies an I/O error of the TLS handshake.
pub(super) fn tls_disconnect(error: &io::Error) -> Disconnect {
    // A server that closes the connection during the handshake rejects it, or does not speak TLS.
    let cause = if is_tls_error(error) || error.kind() == io::ErrorKind::UnexpectedEof {
        DownCause::Tls
    } else {
        DownCause::Io
    };
    Disconnect::new(cause, format!("TLS handshake: {}", tls_error_text(error)))
}

/// Classifies an error of the WebSocket handshake. `body` is the body of the server's response.
pub(super) fn handshake_disconnect(error: tungstenite::Error, body: &[u8]) -> Disconnect {
    match error {
        tungstenite::Error::Http(response) => http_disconnect(&response, body, SystemClock.now()),
        tungstenite::Error::Io(error) => io_disconnect(&error),
        tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            let detail = "the server closed the connection instead of answering the handshake";
            Disconnect::new(DownCause::Eof, detail)
        }
        other => Disconnect::new(DownCause::Handshake, other.to_string()),
    }
}

fn http_disconnect(response: &Response, body: &[u8], now: UnixNanos) -> Disconnect {
    let mut detail = response.status().to_string();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(location) = header(LOCATION) {
        detail = format!("{detail}, redirected to {}", shown_url(location));
    }
    let body = quote(body);
    if !body.is_empty() {
        detail = format!("{detail}: {body}");
    }
    let retry_after = header(RETRY_AFTER).and_then(|text| parse_retry_after(text, now));
    Disconnect { retry_after, ..Disconnect::new(DownCause::Http, detail) }
}

/// Returns the explanation of an error of TLS, with the words of the library.
fn tls_error_text(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner.and_then(explain_tls_error) {
        Some(explanation) => format!("{explanation} ({error})"),
        None => error.to_string(),
    }
}

/// Returns whether an I/O error comes from TLS: the certificate, the name, the protocol.
fn is_tls_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(
        <dyn std::error::Error + std::marker::Send + std::marker::Sync + 'static>::is::<
            rustls::Error,
        >,
    )
}

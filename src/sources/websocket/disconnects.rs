//! The causes of failed handshakes and broken streams.

use std::io;

use super::certificate_advice::explain_tls_error;
use super::http_exchange::ExchangeError;
use super::http_response::HttpResponse;
use super::quote::{quote, shown_url};
use super::retry_after::parse_retry_after;
use crate::base::time::UnixNanos;
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

/// Classifies an error of the exchange in which the server answers the handshake.
pub(super) fn exchange_disconnect(error: ExchangeError) -> Disconnect {
    match error {
        ExchangeError::Io(error) => io_disconnect(&error),
        ExchangeError::Closed => {
            let detail = "the server closed the connection instead of answering the handshake";
            Disconnect::new(DownCause::Eof, detail)
        }
        ExchangeError::ClosedWithin => {
            let detail = "the server closed the connection within its answer to the handshake";
            Disconnect::new(DownCause::Eof, detail)
        }
        ExchangeError::Response(error) => {
            let detail = format!("cannot understand the server: its answer {error}");
            Disconnect::new(DownCause::Handshake, detail)
        }
    }
}

/// Describes a response that refuses a request. `body` is its body.
pub(super) fn refusal_disconnect(
    response: &HttpResponse,
    body: &[u8],
    now: UnixNanos,
) -> Disconnect {
    let mut detail = response.to_string();
    if let Some(location) = response.value("Location") {
        detail = format!("{detail}, redirected to {}", shown_url(location));
    }
    let body = quote(body);
    if !body.is_empty() {
        detail = format!("{detail}: {body}");
    }
    let mut pauses = response.values("Retry-After");
    let retry_after = pauses.find_map(|text| parse_retry_after(text, now));
    Disconnect { retry_after, ..Disconnect::new(DownCause::Http, detail) }
}

/// Describes a refusal that did not come to its end, for this reason.
pub(super) fn cut_refusal_disconnect(
    begun: &HttpResponse,
    failure: &Disconnect,
    now: UnixNanos,
) -> Disconnect {
    let refusal = refusal_disconnect(begun, b"", now);
    let detail = format!("{} (cut short: {})", refusal.detail, failure.detail);
    Disconnect { detail, ..refusal }
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

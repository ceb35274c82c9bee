//! The error of a configuration that names no reachable endpoint.

use super::endpoint_url::UrlError;
use super::proxy::ProxyError;
use super::tls::TlsError;

/// A configuration with which no connection can ever be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectConfigError {
    #[error("`url`: `{url}` is not a WebSocket URL: {reason}")]
    InvalidUrl { url: String, reason: UrlError },
    #[error(
        "`url` holds a user name; send it as a header instead: \"headers\": {{ \"Authorization\": \"…\" }}"
    )]
    UserInUrl,
    #[error("`headers`: `{name}` is not a valid header name")]
    InvalidHeaderName { name: String },
    #[error("`headers`: the value of `{name}` is not valid in a header")]
    InvalidHeaderValue { name: String },
    #[error("`headers`: `{name}` occurs twice, in different case")]
    DuplicateHeader { name: String },
    #[error("`headers`: `{name}` is set by the handshake itself")]
    ReservedHeader { name: String },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

//! The request that opens a WebSocket connection (RFC 6455, 4.1).

use super::connect_options::ConnectOptions;
use super::deflate_extension::{DEFLATE_OFFER, EXTENSIONS_HEADER};

/// The parts of the request that the URL decides.
#[derive(Debug, Clone)]
pub(super) struct UpgradeRequest {
    /// Path and query.
    pub(super) target: String,
    /// Value of the header `Host`.
    pub(super) host: String,
}

impl UpgradeRequest {
    /// Returns the request as it is sent. `offers_deflate` says whether it offers compression.
    ///
    /// A header of the configuration takes the place of the one that would be sent by default.
    pub(super) fn encode(
        &self,
        key: &str,
        offers_deflate: bool,
        options: &ConnectOptions,
    ) -> Vec<u8> {
        let mut request = format!("GET {} HTTP/1.1\r\n", self.target).into_bytes();
        let mut push = |name: &str, value: &[u8]| {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        };
        if options.header("Host").is_none() {
            push("Host", self.host.as_bytes());
        }
        push("Connection", b"Upgrade");
        push("Upgrade", b"websocket");
        push("Sec-WebSocket-Version", b"13");
        push("Sec-WebSocket-Key", key.as_bytes());
        if offers_deflate {
            push(EXTENSIONS_HEADER, DEFLATE_OFFER.as_bytes());
        }
        if options.header("User-Agent").is_none() {
            push("User-Agent", options.user_agent());
        }
        for (name, value) in &options.headers {
            push(name, value.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

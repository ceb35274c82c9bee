//! The settings that all connections of a source share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::header::{HeaderName, HeaderValue};
use tracing::warn;

use super::config::WebsocketConfig;
use super::connect_config_error::ConnectConfigError;
use super::deflate_extension::DeflateMode;
use super::dialer::Dialer;
use super::encryption::Encryption;
use super::host_port::HostPort;
use super::proxy::{Proxy, ProxyError};
use super::quote::mask_and_shorten;
use super::tls::{TlsConfig, TlsError};
use crate::base::pacer::Pacer;
use crate::base::secrets::Secrets;
use crate::plugin::BuildContext;

/// Value of the header `User-Agent`, without which many firewalls refuse a request.
const USER_AGENT: &str = concat!("streamer/", env!("CARGO_PKG_VERSION"));

/// Headers that the handshake sets itself, or that would announce a body.
const RESERVED_HEADERS: [&str; 4] =
    ["connection", "upgrade", "content-length", "transfer-encoding"];

/// The settings of a connect that do not depend on the server, and what was learned about it.
pub(super) struct ConnectOptions {
    /// Headers of the configuration, with the names as they are written there.
    pub(super) headers: Vec<(String, HeaderValue)>,
    pub(super) connect_timeout: Duration,
    pub(super) dialer: Dialer,
    pub(super) pacer: Arc<Pacer>,
    pub(super) read_pacing: Duration,
    deflate: DeflateMode,
    /// Set once compression turned out to be faulty.
    is_deflate_withdrawn: AtomicBool,
    /// Set once it is logged that the server chose no subprotocol.
    is_ignored_protocol_logged: AtomicBool,
    pub(super) secrets: Secrets,
    tls: TlsConfig,
    /// Created at the first `wss://` URL.
    connector: OnceLock<TlsConnector>,
    /// Value of the key `proxy`.
    proxy: Option<String>,
}

impl ConnectOptions {
    pub(super) fn new(
        config: &WebsocketConfig,
        context: &BuildContext,
    ) -> Result<Self, ConnectConfigError> {
        Ok(Self {
            headers: parse_headers(&config.headers)?,
            connect_timeout: config.connect_timeout.to_duration(),
            dialer: Dialer::new(),
            pacer: Arc::clone(&context.pacer),
            read_pacing: config.read_pacing.to_duration(),
            deflate: config.deflate,
            is_deflate_withdrawn: AtomicBool::new(false),
            is_ignored_protocol_logged: AtomicBool::new(false),
            secrets: context.secrets().clone(),
            tls: config.tls.clone(),
            connector: OnceLock::new(),
            proxy: config.proxy.clone(),
        })
    }

    /// Returns the value of a header of the configuration, whose name may be in any case.
    pub(super) fn header(&self, name: &str) -> Option<&HeaderValue> {
        let mut headers = self.headers.iter();
        headers.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Returns the value of the header `User-Agent`.
    pub(super) fn user_agent(&self) -> &[u8] {
        self.header("User-Agent").map_or(USER_AGENT.as_bytes(), HeaderValue::as_bytes)
    }

    /// Returns whether servers are offered compression.
    pub(super) fn offers_deflate(&self) -> bool {
        self.deflate == DeflateMode::Auto && !self.is_deflate_withdrawn.load(Ordering::Relaxed)
    }

    /// Offers no compression any more, for this reason, which is logged once.
    pub(super) fn withdraw_deflate(&self, endpoint: &str, reason: &str) {
        if self.deflate == DeflateMode::Auto
            && !self.is_deflate_withdrawn.swap(true, Ordering::Relaxed)
        {
            let reason = mask_and_shorten(reason, &self.secrets);
            warn!(
                endpoint,
                ?reason,
                "the server's compression is faulty: it is asked for messages without it from now on; `deflate: \"off\"` does so from the start"
            );
        }
    }

    /// Logs once that the server chose none of the subprotocols that were asked for.
    pub(super) fn log_ignored_protocol(&self, endpoint: &str, asked: &str) {
        if !self.is_ignored_protocol_logged.swap(true, Ordering::Relaxed) {
            let asked = mask_and_shorten(asked, &self.secrets);
            warn!(
                endpoint,
                ?asked,
                "the server chose none of the subprotocols in `headers`; it is recorded all the same"
            );
        }
    }

    /// Returns the proxy to use for a server, if any.
    pub(super) fn proxy_to(
        &self,
        server: &HostPort,
        encryption: Encryption,
    ) -> Result<Option<Proxy>, ProxyError> {
        let variable = |name: &str| std::env::var(name).ok();
        Proxy::for_server(self.proxy.as_deref(), server, encryption, variable)
    }

    /// Returns the TLS connector. Reads the certificates at the first call.
    pub(super) fn tls_connector(&self) -> Result<TlsConnector, TlsError> {
        if let Some(connector) = self.connector.get() {
            return Ok(connector.clone());
        }
        let connector = TlsConnector::from(Arc::new(self.tls.client_config()?));
        Ok(self.connector.get_or_init(|| connector).clone())
    }
}

/// Parses the headers of the configuration, each of which is sent once.
fn parse_headers(
    headers: &BTreeMap<String, String>,
) -> Result<Vec<(String, HeaderValue)>, ConnectConfigError> {
    let mut names = Vec::new();
    let mut parsed = Vec::new();
    for (name, value) in headers {
        let header = HeaderName::try_from(name)
            .map_err(|_| ConnectConfigError::InvalidHeaderName { name: name.to_owned() })?;
        let is_reserved = header.as_str().starts_with("sec-websocket-")
            && header.as_str() != "sec-websocket-protocol";
        if is_reserved || RESERVED_HEADERS.contains(&header.as_str()) {
            return Err(ConnectConfigError::ReservedHeader { name: name.to_owned() });
        }
        if names.contains(&header) {
            return Err(ConnectConfigError::DuplicateHeader { name: name.to_owned() });
        }
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| ConnectConfigError::InvalidHeaderValue { name: name.to_owned() })?;
        value.set_sensitive(true);
        names.push(header);
        parsed.push((name.to_owned(), value));
    }
    Ok(parsed)
}

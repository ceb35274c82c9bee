//! The settings that all connections of a source share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::header::{HeaderName, HeaderValue};

use super::config::WebsocketConfig;
use super::connect_config_error::ConnectConfigError;
use super::deflate_extension::DeflateMode;
use super::encryption::Encryption;
use super::host_port::HostPort;
use super::proxy::{Proxy, ProxyError};
use super::tls::{TlsConfig, TlsError};
use crate::base::pacer::Pacer;
use crate::base::secrets::Secrets;
use crate::plugin::BuildContext;

/// The settings of a connect that do not depend on the server.
pub(super) struct ConnectOptions {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) connect_timeout: Duration,
    pub(super) pacer: Arc<Pacer>,
    pub(super) read_pacing: Duration,
    pub(super) deflate: DeflateMode,
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
        let headers = config.headers.iter().map(|(name, value)| parse_header(name, value));
        Ok(Self {
            headers: headers.collect::<Result<_, _>>()?,
            connect_timeout: config.connect_timeout.to_duration(),
            pacer: Arc::clone(&context.pacer),
            read_pacing: config.read_pacing.to_duration(),
            deflate: config.deflate,
            secrets: context.secrets().clone(),
            tls: config.tls.clone(),
            connector: OnceLock::new(),
            proxy: config.proxy.clone(),
        })
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

fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ConnectConfigError> {
    let header = HeaderName::try_from(name)
        .map_err(|_| ConnectConfigError::InvalidHeaderName { name: name.to_owned() })?;
    let is_reserved = header.as_str().starts_with("sec-websocket-")
        && header.as_str() != "sec-websocket-protocol";
    if is_reserved || matches!(header.as_str(), "connection" | "upgrade" | "content-length") {
        return Err(ConnectConfigError::ReservedHeader { name: name.to_owned() });
    }
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| ConnectConfigError::InvalidHeaderValue { name: name.to_owned() })?;
    value.set_sensitive(true);
    Ok((header, value))
}

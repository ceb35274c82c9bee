//! Opening a connection: name look-up, TCP, proxy, TLS and the WebSocket handshake.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::connect_config_error::ConnectConfigError;
use super::connect_deadline::ConnectDeadline;
use super::connect_options::ConnectOptions;
use super::deflate_extension::accepts_deflate;
use super::dialer::DialedStream;
use super::disconnects::{
    cut_refusal_disconnect, exchange_disconnect, refusal_disconnect, tls_disconnect,
};
use super::encryption::Encryption;
use super::endpoint_url::{EndpointUrl, UrlError, UrlProtocol};
use super::host_port::{HostPort, HostPortError};
use super::http_exchange::exchange;
use super::paced_stream::PacedStream;
use super::proxy::Proxy;
use super::quote::shown_url;
use super::refusal_body::read_refusal_body;
use super::response_parser::ResponseParser;
use super::transport::Transport;
use super::upgrade_request::UpgradeRequest;
use super::upgrade_response::{PROTOCOL_HEADER, ProtocolAnswer, check_upgrade};
use crate::base::literal_secrets::secrets_of_url;
use crate::base::time::{Clock, SystemClock};
use crate::plugin::{Disconnect, DownCause};

/// Number of bytes read from a plain socket at a time, which stay in the cache of a small core until
/// they are decoded. A TLS stream is read by the record.
const READ_BUFFER_SIZE: usize = 128 << 10;

/// A stream whose handshake is complete.
pub(super) struct OpenedStream {
    pub(super) stream: Box<dyn Transport>,
    /// Set if compression was agreed on.
    pub(super) is_deflate_agreed: bool,
}

/// The server of a source, with everything that is needed to connect to it.
#[derive(Clone)]
pub(super) struct ConnectTarget {
    request: UpgradeRequest,
    /// Scheme, host, port and path, for the log. Holds no query and no secret.
    pub(super) endpoint: String,
    server: HostPort,
    /// Present if the connection is encrypted.
    tls: Option<TlsEndpoint>,
    proxy: Option<Proxy>,
    options: Arc<ConnectOptions>,
}

/// The parameters of the TLS handshake.
#[derive(Clone)]
struct TlsEndpoint {
    connector: TlsConnector,
    /// Name that the certificate must be valid for.
    server_name: ServerName<'static>,
}

impl ConnectTarget {
    pub(super) fn new(
        url: &str,
        options: &Arc<ConnectOptions>,
    ) -> Result<Self, ConnectConfigError> {
        let url = EndpointUrl::parse(url, UrlProtocol::WebSocket).map_err(|error| match error {
            UrlError::User => ConnectConfigError::UserInUrl,
            reason => ConnectConfigError::InvalidUrl { url: url_in_error(url), reason },
        })?;
        let request = UpgradeRequest { target: url.request_target(), host: url.authority() };
        let EndpointUrl { encryption, server, .. } = url.clone();
        let tls = match encryption {
            Encryption::Plain => None,
            Encryption::Tls => {
                let server_name = ServerName::try_from(server.name().to_owned()).map_err(|_| {
                    let reason = HostPortError::InvalidHost(server.host.clone()).into();
                    ConnectConfigError::InvalidUrl { url: url.without_query(), reason }
                })?;
                Some(TlsEndpoint { connector: options.tls_connector()?, server_name })
            }
        };
        let endpoint = options.secrets.mask(&url.without_query());
        let proxy = options.proxy_to(&server, encryption)?;
        options.secrets.add(proxy.iter().flat_map(Proxy::secrets));
        Ok(Self { request, endpoint, server, tls, proxy, options: Arc::clone(options) })
    }

    /// Replaces the target by the URL that the server gave.
    pub(super) fn redirect(&mut self, url: &str) -> Result<(), Disconnect> {
        self.options.secrets.add_recent(secrets_of_url(url));
        let shown = shown_url(url);
        let detail = format!("cannot connect to `{shown}`, the URL that the server gave");
        *self =
            Self::new(url, &self.options).map_err(|_| Disconnect::new(DownCause::Http, detail))?;
        Ok(())
    }

    /// Opens a connection and completes the handshake before `deadline`.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<OpenedStream, Disconnect> {
        let host = self.proxy.as_ref().map_or(&self.server, Proxy::address);
        let dialer = &self.options.dialer;
        let deadline = ConnectDeadline { at: deadline, limit: self.options.connect_timeout };
        let dialed =
            dialer.connect(host, deadline.at, deadline.limit).await.map_err(|failure| {
                let origin =
                    self.proxy.as_ref().map_or_else(String::new, |proxy| format!("{proxy}: "));
                Disconnect { detail: format!("{origin}{}", failure.detail), ..failure }
            })?;
        let DialedStream { stream, address } = dialed;
        let opened = self.open_over(stream, deadline).await;
        // What answers there may be broken while another address of the host works.
        match &opened {
            Ok(_) => dialer.confirm(host, address),
            Err(_) => dialer.report_faulty(host, address),
        }
        opened
    }

    /// Completes every handshake over a connection to the server, or to the proxy if there is one.
    async fn open_over(
        &self,
        tcp: TcpStream,
        deadline: ConnectDeadline,
    ) -> Result<OpenedStream, Disconnect> {
        let tcp = match &self.proxy {
            None => tcp,
            Some(proxy) => {
                let user_agent = self.options.user_agent();
                proxy.open_tunnel(tcp, &self.server, user_agent, deadline).await?
            }
        };
        tcp.set_nodelay(true).map_err(|error| Disconnect::new(DownCause::Io, error.to_string()))?;
        let tcp = PacedStream::new(tcp, Arc::clone(&self.options.pacer), self.options.read_pacing);
        let stream: Box<dyn Transport> = match &self.tls {
            None => Box::new(BufReader::with_capacity(READ_BUFFER_SIZE, tcp)),
            Some(TlsEndpoint { connector, server_name }) => {
                let handshake = connector.connect(server_name.clone(), tcp);
                let stream = deadline.bound("the TLS handshake", handshake).await?;
                Box::new(stream.map_err(|error| tls_disconnect(&error))?)
            }
        };
        self.upgrade(stream, deadline).await
    }

    /// Completes the WebSocket handshake.
    async fn upgrade(
        &self,
        mut stream: Box<dyn Transport>,
        deadline: ConnectDeadline,
    ) -> Result<OpenedStream, Disconnect> {
        let key = generate_key();
        let offers_deflate = self.options.offers_deflate();
        let request = self.request.encode(&key, offers_deflate, &self.options);
        let mut parser = ResponseParser::default();
        let exchange = exchange(&mut stream, &request, &mut parser);
        let response = deadline.bound("the WebSocket handshake", exchange).await;
        let response = response.and_then(|response| response.map_err(exchange_disconnect));
        let response = response.map_err(|failure| match parser.begun_refusal() {
            Some(begun) => cut_refusal_disconnect(&begun, &failure, SystemClock.now()),
            None => failure,
        })?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
            let body = read_refusal_body(&mut stream, &response, deadline.at).await;
            return Err(refusal_disconnect(&response, &body, SystemClock.now()));
        }
        let fault = |detail: String| Disconnect::new(DownCause::Handshake, detail);
        let protocols = self.options.header(PROTOCOL_HEADER).and_then(|list| list.to_str().ok());
        let accept_key = derive_accept_key(key.as_bytes());
        let answer = check_upgrade(&response, &accept_key, protocols)
            .map_err(|error| fault(error.to_string()))?;
        if answer == ProtocolAnswer::Ignored {
            self.options.log_ignored_protocol(&self.endpoint, protocols.unwrap_or_default());
        }
        let is_deflate_agreed = accepts_deflate(&response).map_err(|reason| {
            self.options.withdraw_deflate(&self.endpoint, &reason);
            fault(reason)
        })?;
        if is_deflate_agreed && !offers_deflate {
            let detail = "the server accepted compression, which was not offered";
            return Err(fault(detail.to_owned()));
        }
        Ok(OpenedStream { stream, is_deflate_agreed })
    }
}

/// Returns a URL that cannot be used as an error may show it: without the query, which may hold a
/// token, and not at all if it may hold a password.
fn url_in_error(url: &str) -> String {
    let shown = shown_url(url);
    if url.contains('@') { "…".to_owned() } else { shown }
}

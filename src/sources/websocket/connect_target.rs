//! Opening a connection: name look-up, TCP, proxy, TLS and the WebSocket handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::http::header::{
    HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
};

use super::connect_config_error::ConnectConfigError;
use super::connect_options::ConnectOptions;
use super::deflate_extension::{DEFLATE_OFFER, DeflateMode, parse_accepted_extensions};
use super::disconnects::{handshake_disconnect, tls_disconnect};
use super::encryption::Encryption;
use super::endpoint_url::{EndpointUrl, UrlError, UrlProtocol};
use super::frame_decoder::ContextTakeover;
use super::handshake_reader::HandshakeReader;
use super::host_port::{HostPort, HostPortError};
use super::paced_stream::PacedStream;
use super::proxy::Proxy;
use super::quote::shown_url;
use super::transport::Transport;
use crate::base::literal_secrets::secrets_of_url;
use crate::plugin::{Disconnect, DownCause};

/// Number of bytes read from a plain socket at a time, which stay in the cache of a small core until
/// they are decoded. A TLS stream is read by the record.
const READ_BUFFER_SIZE: usize = 128 << 10;

/// A stream whose handshake is complete.
pub(super) struct OpenedStream {
    pub(super) stream: Box<dyn Transport>,
    /// Bytes that the server sent after the response to the handshake.
    pub(super) leftover: Vec<u8>,
    /// Present if compression was agreed on.
    pub(super) deflate: Option<ContextTakeover>,
}

/// The server of a source, with everything that is needed to connect to it.
#[derive(Clone)]
pub(super) struct ConnectTarget {
    request: Request,
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
        let mut request = url.to_string().into_client_request().map_err(|_| {
            ConnectConfigError::InvalidUrl { url: url.without_query(), reason: UrlError::TooLong }
        })?;
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
        if options.deflate == DeflateMode::Auto {
            let offer = HeaderValue::from_static(DEFLATE_OFFER);
            request.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, offer);
        }
        for (header, value) in &options.headers {
            request.headers_mut().insert(header.clone(), value.clone());
        }
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
        let tcp = self.open_tcp(deadline).await?;
        tcp.set_nodelay(true).map_err(|error| Disconnect::new(DownCause::Io, error.to_string()))?;
        let tcp = PacedStream::new(tcp, Arc::clone(&self.options.pacer), self.options.read_pacing);
        let stream: Box<dyn Transport> = match &self.tls {
            None => Box::new(BufReader::with_capacity(READ_BUFFER_SIZE, tcp)),
            Some(TlsEndpoint { connector, server_name }) => {
                let handshake = connector.connect(server_name.clone(), tcp);
                let stream = self.within_deadline(deadline, "the TLS handshake", handshake).await?;
                Box::new(stream.map_err(|error| tls_disconnect(&error))?)
            }
        };
        self.upgrade(stream, deadline).await
    }

    /// Opens a TCP connection to the server, through the proxy if there is one.
    async fn open_tcp(&self, deadline: Instant) -> Result<TcpStream, Disconnect> {
        let Some(proxy) = &self.proxy else {
            return self.connect_host(deadline, &self.server).await;
        };
        let tcp = self.connect_host(deadline, proxy.address()).await.map_err(|failure| {
            Disconnect::new(failure.cause, format!("{proxy}: {}", failure.detail))
        })?;
        let tunnel = proxy.open_tunnel(tcp, &self.server);
        self.within_deadline(deadline, &format!("the connection through {proxy}"), tunnel).await?
    }

    /// Completes the WebSocket handshake.
    async fn upgrade(
        &self,
        stream: Box<dyn Transport>,
        deadline: Instant,
    ) -> Result<OpenedStream, Disconnect> {
        let mut request = self.request.clone();
        let key = HeaderValue::from_str(&generate_key()).expect("Base64 is valid in a header");
        request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
        let mut reader = HandshakeReader::new(stream);
        // The reader is lent, so that the bytes that were read after the head are not lost.
        let handshake = client_async(request, &mut reader);
        let result = self.within_deadline(deadline, "the WebSocket handshake", handshake).await?;
        let response = result.map(|(_, response)| response);
        let (stream, leftover) = reader.into_parts();
        let response = response.map_err(|error| handshake_disconnect(error, &leftover))?;
        let extensions = response.headers().get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        let extensions: Vec<_> = extensions.map(|value| value.to_str().unwrap_or("?")).collect();
        let deflate = parse_accepted_extensions(&extensions, self.options.deflate)
            .map_err(|fault| Disconnect::new(DownCause::Handshake, fault))?;
        Ok(OpenedStream { stream, leftover, deflate })
    }

    async fn connect_host(
        &self,
        deadline: Instant,
        address: &HostPort,
    ) -> Result<TcpStream, Disconnect> {
        let addresses =
            self.within_deadline(deadline, "the name look-up", look_up(address)).await?.map_err(
                |error| Disconnect::new(DownCause::Dns, format!("{}: {error}", address.host)),
            )?;
        self.within_deadline(deadline, "a connection", self.connect_first(&addresses)).await?
    }

    /// Awaits one step of a connect, all of which share `connect_timeout`.
    async fn within_deadline<F: Future>(
        &self,
        deadline: Instant,
        step: &str,
        future: F,
    ) -> Result<F::Output, Disconnect> {
        timeout_at(deadline, future).await.map_err(|_| {
            let limit = self.options.connect_timeout;
            Disconnect::new(DownCause::ConnectTimeout, format!("{step} took more than {limit:?}"))
        })
    }

    /// Connects to the first address that answers. Each address has its share of the time, so that
    /// one that drops packets leaves time for the next.
    async fn connect_first(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Disconnect> {
        let shares = u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let share = self.options.connect_timeout / shares;
        let mut failures = Vec::new();
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failures.push(format!("{address}: {error}")),
                Err(_) => failures.push(format!("{address}: no answer within {share:?}")),
            }
        }
        Err(Disconnect::new(DownCause::Connect, failures.join("; ")))
    }
}

/// Looks up the addresses of a host. A trailing dot keeps the resolver from completing the name; not
/// every resolver finds a name of the file `hosts` with it.
async fn look_up(host: &HostPort) -> io::Result<Vec<SocketAddr>> {
    match lookup_host(host.as_pair()).await {
        Err(_) if host.host.ends_with('.') => {
            Ok(lookup_host((host.name(), host.port)).await?.collect())
        }
        found => Ok(found?.collect()),
    }
}

/// Returns a URL that cannot be used as an error may show it: without the query, which may hold a
/// token, and not at all if it may hold a password.
fn url_in_error(url: &str) -> String {
    let shown = shown_url(url);
    if url.contains('@') { "…".to_owned() } else { shown }
}

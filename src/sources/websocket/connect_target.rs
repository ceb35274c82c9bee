//! Opening a connection: name, TCP, TLS, WebSocket handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::{IntoClientRequest, uri_mode};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response, generate_key};
use tokio_tungstenite::tungstenite::http::header::{
    HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
};
use tokio_tungstenite::tungstenite::http::uri::Authority;
use tokio_tungstenite::tungstenite::stream::Mode;
use tokio_tungstenite::tungstenite::{self};

use super::WebsocketConfig;
use super::connection::io_disconnect;
use super::deflate_extension::{
    DEFLATE_OFFER, DeflateMode, DeflateParams, parse_accepted_extensions,
};
use super::handshake_reader::HandshakeReader;
use super::paced_stream::PacedStream;
use super::proxy::{Proxy, ProxyError};
use super::tls::{TlsConfig, TlsError, is_tls_error};
use crate::base::pacer::Pacer;
use crate::base::secrets::Secrets;
use crate::base::time::{Clock, SystemClock, UnixNanos};
use crate::plugin::{BuildContext, Disconnect, DownCause};

/// How much of a refusal's body is quoted.
const MAX_QUOTED_BYTES: usize = 200;

/// How much is read from a plain socket at once: what stays in a small core's cache until it is
/// unframed. TLS reads a record.
const READ_BUFFER_SIZE: usize = 128 << 10;

/// A connected byte stream, plain or TLS, that lends what it has read.
pub(super) trait Transport: AsyncBufRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncBufRead + AsyncWrite + Unpin + Send> Transport for S {}

/// How to connect, to whatever.
pub(super) struct ConnectOptions {
    headers: Vec<(HeaderName, HeaderValue)>,
    tls: TlsConfig,
    /// Made with the first `wss://` URL, and shared by all connections.
    connector: OnceLock<TlsConnector>,
    connect_timeout: Duration,
    pacer: Arc<Pacer>,
    read_pacing: Duration,
    deflate: DeflateMode,
    /// As configured.
    proxy: Option<String>,
    secrets: Secrets,
}

/// A stream behind its handshake.
pub(super) struct OpenedStream {
    pub(super) stream: Box<dyn Transport>,
    /// What the server sent behind its answer.
    pub(super) leftover: Vec<u8>,
    /// Whether it may compress its messages.
    pub(super) deflate: Option<DeflateParams>,
}

/// Where to connect and how.
#[derive(Clone)]
pub(super) struct ConnectTarget {
    request: Request,
    /// Scheme, host, port and path, for the log: no query, no secret.
    pub(super) endpoint: String,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    proxy: Option<Proxy>,
    options: Arc<ConnectOptions>,
}

/// A configuration with which no connection can ever be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectConfigError {
    #[error("`url`: `{url}` is not a WebSocket URL: {reason}")]
    InvalidUrl { url: String, reason: String },
    #[error(
        "`url` holds a user name; send it as a header instead: \"headers\": {{ \"Authorization\": \"…\" }}"
    )]
    UserInUrl,
    #[error("`headers`: `{name}` is not a valid header name")]
    InvalidHeaderName { name: String },
    #[error("`headers`: the value of `{name}` is not valid in a header")]
    InvalidHeaderValue { name: String },
    #[error("`headers`: `{name}` is set by the handshake itself")]
    ReservedHeader { name: String },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl ConnectOptions {
    pub(super) fn new(
        config: &WebsocketConfig,
        context: &BuildContext,
    ) -> Result<Self, ConnectConfigError> {
        let headers = config.headers.iter().map(|(name, value)| parse_header(name, value));
        Ok(Self {
            headers: headers.collect::<Result<_, _>>()?,
            tls: config.tls.clone(),
            connector: OnceLock::new(),
            connect_timeout: config.connect_timeout.to_duration(),
            pacer: Arc::clone(&context.pacer),
            read_pacing: config.read_pacing.to_duration(),
            deflate: config.deflate,
            proxy: config.proxy.clone(),
            secrets: context.secrets().clone(),
        })
    }

    /// The proxy on the way to a server.
    pub(super) fn proxy_to(
        &self,
        tls: bool,
        host: &str,
        port: u16,
    ) -> Result<Option<Proxy>, ProxyError> {
        let variable = |name: &str| std::env::var(name).ok();
        Proxy::for_server(self.proxy.as_deref(), tls, host, port, variable)
    }

    fn tls_connector(&self) -> Result<TlsConnector, TlsError> {
        if let Some(connector) = self.connector.get() {
            return Ok(connector.clone());
        }
        let connector = TlsConnector::from(Arc::new(self.tls.client_config()?));
        Ok(self.connector.get_or_init(|| connector).clone())
    }
}

impl ConnectTarget {
    pub(super) fn new(url: &str, reach: &Arc<ConnectOptions>) -> Result<Self, ConnectConfigError> {
        let bad = |reason: String| ConnectConfigError::InvalidUrl {
            url: reach.secrets.mask(url),
            reason,
        };
        let mut request = url.into_client_request().map_err(|error| bad(url_error_text(&error)))?;
        let uri = request.uri().clone();
        let mode =
            uri_mode(&uri).map_err(|_| bad("it must begin with `ws://` or `wss://`".to_owned()))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(ConnectConfigError::UserInUrl);
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("the host is missing".to_owned()));
        }
        let authority = uri.authority().map_or("", Authority::as_str);
        if uri.port_u16().is_none() && authority.len() > uri.host().map_or(0, str::len) {
            return Err(bad("the port is not a number from 0 to 65535".to_owned()));
        }
        let (scheme, default_port, tls) = match mode {
            Mode::Plain => ("ws", 80, None),
            Mode::Tls => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| bad(format!("`{host}` is not a valid host name")))?;
                ("wss", 443, Some((reach.tls_connector()?, name)))
            }
        };
        if reach.deflate == DeflateMode::Auto {
            let offer = HeaderValue::from_static(DEFLATE_OFFER);
            request.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, offer);
        }
        for (header, value) in &reach.headers {
            request.headers_mut().insert(header.clone(), value.clone());
        }
        let port = uri.port_u16().unwrap_or(default_port);
        let endpoint = reach.secrets.mask(&format!("{scheme}://{authority}{}", uri.path()));
        let proxy = reach.proxy_to(tls.is_some(), &host, port)?;
        Ok(Self { request, endpoint, host, port, tls, proxy, options: Arc::clone(reach) })
    }

    /// From now on this URL is connected to.
    pub(super) fn redirect(&mut self, url: &str) -> Result<(), Disconnect> {
        // Its query may hold a token that was just given.
        let shown = url.split('?').next().unwrap_or_default();
        let detail = format!("cannot connect to `{shown}`, which the server gave");
        *self =
            Self::new(url, &self.options).map_err(|_| Disconnect::new(DownCause::Http, detail))?;
        Ok(())
    }

    /// Connects.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<OpenedStream, Disconnect> {
        let tcp = match &self.proxy {
            None => self.connect_host(deadline, &self.host, self.port).await?,
            Some(proxy) => {
                let tcp = self.connect_host(deadline, &proxy.host, proxy.port).await;
                let tcp = tcp.map_err(|lost| {
                    Disconnect::new(lost.cause, format!("{proxy}: {}", lost.detail))
                })?;
                let tunnel = proxy.open_tunnel(tcp, &self.host, self.port);
                self.within_deadline(deadline, &format!("the connection by {proxy}"), tunnel)
                    .await??
            }
        };
        tcp.set_nodelay(true).map_err(|error| Disconnect::new(DownCause::Io, error.to_string()))?;
        let tcp = PacedStream::new(tcp, Arc::clone(&self.options.pacer), self.options.read_pacing);
        let stream: Box<dyn Transport> = match &self.tls {
            None => Box::new(BufReader::with_capacity(READ_BUFFER_SIZE, tcp)),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp);
                let tls = self.within_deadline(deadline, "the TLS handshake", tls).await?;
                Box::new(tls.map_err(|error| tls_disconnect(&error))?)
            }
        };
        let mut request = self.request.clone();
        if let Ok(key) = HeaderValue::from_str(&generate_key()) {
            request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
        }
        let mut head = HandshakeReader::new(stream);
        // Lent, so that the stream stays ours with what was read behind the head.
        let answer = client_async(request, &mut head);
        let answer = self.within_deadline(deadline, "the WebSocket handshake", answer).await?;
        let answer = answer.map(|(_, response)| response);
        let (stream, early) = head.into_parts();
        let response = answer.map_err(|error| handshake_disconnect(error, &early))?;
        let extensions = response.headers().get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        let extensions = extensions.map(|value| value.to_str().unwrap_or("?"));
        let extensions: Vec<_> = extensions.collect();
        let deflate =
            parse_accepted_extensions(&extensions, self.options.deflate == DeflateMode::Auto)
                .map_err(|fault| Disconnect::new(DownCause::Handshake, fault))?;
        Ok(OpenedStream { stream, leftover: early, deflate })
    }

    async fn connect_host(
        &self,
        deadline: Instant,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, Disconnect> {
        let addresses: Vec<_> = self
            .within_deadline(deadline, "the name look-up", lookup_host((host, port)))
            .await?
            .map_err(|error| Disconnect::new(DownCause::Dns, format!("{host}: {error}")))?
            .collect();
        self.within_deadline(deadline, "a connection", self.connect_first(&addresses)).await?
    }

    /// Waits for one step of a connect, as long as `connect_timeout` allows for all of them.
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

    /// The first address that answers. Each has its share of the time, so that one that swallows
    /// packets leaves some to the next.
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

fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ConnectConfigError> {
    let header = HeaderName::try_from(name)
        .map_err(|_| ConnectConfigError::InvalidHeaderName { name: name.to_owned() })?;
    let reserved = header.as_str().starts_with("sec-websocket-")
        && header.as_str() != "sec-websocket-protocol";
    if reserved || matches!(header.as_str(), "connection" | "upgrade" | "content-length") {
        return Err(ConnectConfigError::ReservedHeader { name: name.to_owned() });
    }
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| ConnectConfigError::InvalidHeaderValue { name: name.to_owned() })?;
    value.set_sensitive(true);
    Ok((header, value))
}

fn url_error_text(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Url(reason) => reason.to_string().to_lowercase(),
        tungstenite::Error::HttpFormat(reason) => reason.to_string().to_lowercase(),
        other => other.to_string(),
    }
}

fn tls_disconnect(error: &io::Error) -> Disconnect {
    // A server that hangs up in the middle does not speak TLS, or not with us.
    let cause = if is_tls_error(error) || error.kind() == io::ErrorKind::UnexpectedEof {
        DownCause::Tls
    } else {
        DownCause::Io
    };
    Disconnect::new(cause, format!("TLS handshake: {error}"))
}

fn handshake_disconnect(error: tungstenite::Error, body: &[u8]) -> Disconnect {
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
        // Without its query, which may hold a token.
        let location = location.split('?').next().unwrap_or_default();
        detail = format!("{detail}, redirected to {location}");
    }
    let body = String::from_utf8_lossy(body.get(..MAX_QUOTED_BYTES).unwrap_or(body));
    let body = body.trim();
    if !body.is_empty() {
        detail = format!("{detail}: {body}");
    }
    let retry_after = header(RETRY_AFTER).and_then(|text| parse_retry_after(text, now));
    Disconnect { retry_after, ..Disconnect::new(DownCause::Http, detail) }
}

/// The pause that a `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn parse_retry_after(text: &str, now: UnixNanos) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    let seconds = u64::try_from(date.timestamp()).ok()?.saturating_sub(now.seconds());
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixNanos::from_seconds(1_445_412_480);
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(
            parse_retry_after("Wed, 21 Oct 2015 07:29:00 GMT", now),
            Some(Duration::from_secs(60))
        );
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:27:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
    }
}

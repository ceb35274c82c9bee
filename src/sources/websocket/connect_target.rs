//! Opening a connection: name look-up, TCP, proxy, TLS and the WebSocket handshake.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::connect_config_error::ConnectConfigError;
use super::connect_deadline::ConnectDeadline;
use super::connect_options::ConnectOptions;
use super::deflate_extension::accepts_deflate;
use super::dialer::DialedStream;
use super::disconnects::{cut_refusal_disconnect, exchange_disconnect, refusal_disconnect};
use super::endpoint_url::{EndpointUrl, UrlError, UrlProtocol};
use super::http_body::read_refusal_body;
use super::http_exchange::exchange;
use super::quote::shown_url;
use super::response_parser::ResponseParser;
use super::server_route::ServerRoute;
use super::transport::Transport;
use super::upgrade_request::UpgradeRequest;
use super::upgrade_response::{PROTOCOL_HEADER, ProtocolAnswer, check_upgrade};
use crate::base::literal_secrets::secrets_of_url;
use crate::base::time::{Clock, SystemClock};
use crate::plugin::{Disconnect, DownCause};

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
    route: ServerRoute,
    options: Arc<ConnectOptions>,
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
        let route = ServerRoute::new(&url, options)?;
        let endpoint = options.secrets.mask(&url.without_query());
        Ok(Self { request, endpoint, route, options: Arc::clone(options) })
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
        let deadline = ConnectDeadline { at: deadline, limit: self.options.connect_timeout };
        let DialedStream { stream: tcp, address } = self.route.dial(deadline).await?;
        let opened = async {
            let stream = self.route.open_over(tcp, deadline).await?;
            self.upgrade(stream, deadline).await
        };
        let opened = opened.await;
        self.route.report(address, &opened);
        opened
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
            // The words of a redirect often repeat where it leads.
            let locations = response.values("Location");
            self.options.secrets.add_recent(locations.flat_map(secrets_of_url));
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
            let detail = "the server accepted compression, which was not offered, so that its messages could be misread";
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

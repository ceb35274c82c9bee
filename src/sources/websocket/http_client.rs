//! Requests over HTTP, which go the way that connections to the feed go.

use std::sync::Arc;

use super::connect_deadline::ConnectDeadline;
use super::connect_options::ConnectOptions;
use super::dialer::DialedStream;
use super::disconnects::{cut_refusal_disconnect, exchange_disconnect, refusal_disconnect};
use super::http_body::{BodyLimits, read_body, read_refusal_body};
use super::http_exchange::exchange;
use super::http_request::HttpRequest;
use super::http_response::HttpResponse;
use super::response_parser::ResponseParser;
use super::server_route::ServerRoute;
use crate::base::literal_secrets::secrets_of_url;
use crate::base::time::{Clock, SystemClock};
use crate::plugin::{Disconnect, DownCause};

/// Maximum length of the body of an answer in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Maximum number of redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// Sends requests over HTTP/1.1, with the proxy, the certificates and the addresses of a source, and
/// reads answers as those to the handshake are read.
pub(super) struct HttpClient {
    options: Arc<ConnectOptions>,
}

/// An answer to a request that a server accepted.
pub(super) struct HttpAnswer {
    /// URL of the server that answered, without the query.
    pub(super) endpoint: String,
    pub(super) body: Vec<u8>,
}

impl HttpClient {
    pub(super) fn new(options: &Arc<ConnectOptions>) -> Self {
        Self { options: Arc::clone(options) }
    }

    /// Sends a request, follows redirects, and returns the answer.
    ///
    /// # Errors
    /// The answer is late, is no HTTP, has another status than 2xx, or breaks off.
    pub(super) async fn send(
        &self,
        request: HttpRequest,
        deadline: ConnectDeadline,
    ) -> Result<HttpAnswer, Disconnect> {
        let mut request = request;
        let mut redirects = 0;
        loop {
            let endpoint = request.url.without_query();
            let answer = self.send_once(&request, deadline).await.map_err(|failure| {
                let detail = format!("the request to {endpoint} failed: {}", failure.detail);
                Disconnect { detail, ..failure }
            })?;
            let Answered { response, body } = answer;
            if (200..300).contains(&response.status()) {
                return Ok(HttpAnswer { endpoint, body });
            }
            self.options.secrets.add_recent(response.values("Location").flat_map(secrets_of_url));
            match request.redirected(&response) {
                Some(Ok(next)) if redirects < MAX_REDIRECTS => {
                    redirects += 1;
                    request = next;
                }
                redirected => {
                    let refusal = refusal_disconnect(&response, &body, SystemClock.now());
                    let reason = match redirected {
                        Some(Ok(_)) => format!(
                            "; it is not followed: {MAX_REDIRECTS} redirects came before it"
                        ),
                        Some(Err(reason)) => format!("; it is not followed: {reason}"),
                        None => String::new(),
                    };
                    let detail = format!("{endpoint} answered {}{reason}", refusal.detail);
                    return Err(Disconnect { detail, ..refusal });
                }
            }
        }
    }

    async fn send_once(
        &self,
        request: &HttpRequest,
        deadline: ConnectDeadline,
    ) -> Result<Answered, Disconnect> {
        let route = ServerRoute::new(&request.url, &self.options)
            .map_err(|error| Disconnect::new(DownCause::Connect, error.to_string()))?;
        let DialedStream { stream: tcp, address } = route.dial(deadline).await?;
        let answered = self.exchange_over(&route, tcp, request, deadline).await;
        route.report(address, &answered);
        answered
    }

    async fn exchange_over(
        &self,
        route: &ServerRoute,
        tcp: tokio::net::TcpStream,
        request: &HttpRequest,
        deadline: ConnectDeadline,
    ) -> Result<Answered, Disconnect> {
        let mut stream = route.open_over(tcp, deadline).await?;
        let bytes = request.encode(self.options.user_agent());
        let mut parser = ResponseParser::default();
        let exchange = exchange(&mut stream, &bytes, &mut parser);
        let response = deadline.bound("the answer", exchange).await;
        let response = response.and_then(|response| response.map_err(exchange_disconnect));
        let response = response.map_err(|failure| match parser.begun_refusal() {
            Some(begun) => cut_refusal_disconnect(&begun, &failure, SystemClock.now()),
            None => failure,
        })?;
        if !(200..300).contains(&response.status()) {
            let body = read_refusal_body(&mut stream, &response, deadline.at).await;
            return Ok(Answered { response, body });
        }
        let limits = BodyLimits { max_bytes: MAX_BODY_BYTES, deadline: deadline.at };
        let body = read_body(&mut stream, &response, limits).await;
        if !body.is_complete {
            let detail = format!(
                "the body of the answer breaks off, takes more than {:?}, or is longer than {MAX_BODY_BYTES} bytes",
                deadline.limit
            );
            return Err(Disconnect::new(DownCause::Http, detail));
        }
        Ok(Answered { response, body: body.content })
    }
}

/// A response and its body, decoded.
struct Answered {
    response: HttpResponse,
    body: Vec<u8>,
}

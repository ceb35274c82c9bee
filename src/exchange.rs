//! A simulated exchange on loopback, for the demo, for tests and for benchmarks.
//!
//! Its protocol is the one of the short form of the configuration: the exchange acknowledges
//! `{"op":"subscribe","args":["…"]}`, answers `{"op":"ping"}` and sends trades of all topics in
//! turn. Trade number *n* is a function of the topics and *n* alone, so that a recording can be
//! checked. Numbers continue across connections: a client that connects again gets the next trade.
//! Connections at the same time each get all trades.

mod market;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async};
use tokio_util::sync::CancellationToken;

pub use self::market::Market;

/// Number of trades in one write when the rate is not limited.
const TRADES_PER_BURST: u64 = 512;
/// Maximum number of trades in one write. It bounds the memory at a rate that cannot be sustained.
const MAX_TRADES_PER_WRITE: u64 = 16_384;
/// Time between two writes when the rate is limited.
const SEND_INTERVAL: Duration = Duration::from_millis(2);
/// Beginning of the topics that the exchange knows.
const TOPIC_PREFIX: &str = "publicTrade.";

/// The behavior of an exchange.
#[derive(Debug, Clone, Default)]
pub struct ExchangeOptions {
    /// Trades a second; 0 sends trades as fast as the client reads them.
    pub rate: u64,
    /// Number of trades; the connection stays open and quiet after the last. `None` has no end.
    pub count: Option<u64>,
    /// Set if the exchange closes the connection after the last trade.
    pub close_at_end: bool,
    /// Numbers of trades, ascending, at each of which the connection is dropped without a close
    /// frame.
    pub drop_at: Vec<u64>,
    /// The TLS configuration with the certificate; `None` for a connection without TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// An exchange that listens for clients.
#[derive(Debug)]
pub struct Exchange {
    listener: TcpListener,
    state: Arc<ExchangeState>,
}

/// The state that the connections of an exchange share.
#[derive(Debug)]
struct ExchangeState {
    options: ExchangeOptions,
    /// Largest number of trades that were sent to one connection.
    sent: AtomicU64,
    /// Number of answered requests.
    answers: AtomicU64,
}

/// The end of a connection.
enum ServeOutcome {
    /// The client ended the connection, or the exchange closed it by handshake.
    Closed,
    /// The exchange must drop the connection.
    Dropped,
}

/// The result of a message of the client.
enum Handled {
    /// The connection goes on.
    Answered,
    /// The client subscribed to more topics.
    Subscribed,
    /// The client ended the connection.
    Closed,
}

/// The next thing to do for a connection.
enum Turn<'a> {
    /// Handle a message of the client, or the end of its messages.
    Handle(Option<Result<Message, Error>>),
    /// Send the trades of the market that are due.
    Send(&'a Market),
}

impl Exchange {
    /// Listens at the address. Port 0 takes a free port.
    ///
    /// # Errors
    /// The address is not available.
    pub async fn bind(address: &str, options: ExchangeOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let sent = AtomicU64::new(0);
        let answers = AtomicU64::new(0);
        Ok(Self { listener, state: Arc::new(ExchangeState { options, sent, answers }) })
    }

    /// Returns the address at which the exchange listens.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the URL for a recorder.
    ///
    /// # Errors
    /// As [`Exchange::address`].
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.state.options.tls.is_some() { "wss" } else { "ws" };
        Ok(format!("{scheme}://{}", self.address()?))
    }

    /// Serves clients until `stop`. Returns the number of trades that were sent.
    pub async fn serve(self, stop: &CancellationToken) -> u64 {
        let mut clients = JoinSet::new();
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            // Out of file descriptors, for example. There may be one for the next client.
            let Ok((client, _)) = accepted else { continue };
            let state = Arc::clone(&self.state);
            let stop = stop.clone();
            clients.spawn(async move {
                let served = Box::pin(state.serve_client(client));
                stop.run_until_cancelled(served).await
            });
            while clients.try_join_next().is_some() {}
        }
        clients.shutdown().await;
        self.state.sent()
    }
}

impl ExchangeState {
    fn sent(&self) -> u64 {
        // Relaxed: no other data depends on the number.
        self.sent.load(Ordering::Relaxed)
    }

    async fn serve_client(&self, client: TcpStream) {
        // A client that goes away is no error of the exchange.
        let _gone: Result<(), Error> = async {
            client.set_nodelay(true)?;
            match &self.options.tls {
                None => self.serve_socket(accept_async(client).await?).await,
                Some(config) => {
                    let tls = TlsAcceptor::from(Arc::clone(config)).accept(client).await?;
                    self.serve_socket(accept_async(tls).await?).await
                }
            }
        }
        .await;
    }

    async fn serve_socket<S>(&self, mut socket: WebSocketStream<S>) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut market: Option<Market> = None;
        let mut subscribed = Vec::new();
        let begun = Instant::now();
        let first = self.sent();
        let mut sent = first;
        let mut ticks = interval(SEND_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frames = Vec::new();
        loop {
            let open_market = market.as_ref().filter(|_| self.remaining_trades(sent) > 0);
            let turn = tokio::select! {
                // Messages first: a client at full speed must not wait for its pong.
                biased;
                message = socket.next() => Turn::Handle(message),
                market = self.wait_until_due(open_market, &mut ticks) => Turn::Send(market),
            };
            let outcome = match turn {
                Turn::Handle(message) => {
                    match self.handle_message(&mut socket, message, &mut subscribed).await? {
                        Handled::Answered => None,
                        Handled::Subscribed => {
                            market = Some(Market::from_topics(&subscribed));
                            None
                        }
                        Handled::Closed => Some(ServeOutcome::Closed),
                    }
                }
                Turn::Send(market) => {
                    let until = match self.options.rate {
                        0 => sent + TRADES_PER_BURST,
                        rate => first + trades_due(rate, begun.elapsed()),
                    };
                    self.send_trades(&mut socket, market, &mut sent, until, &mut frames).await?
                }
            };
            match outcome {
                None => {}
                Some(ServeOutcome::Closed) => return Ok(()),
                Some(ServeOutcome::Dropped) => return end_without_close_frame(socket).await,
            }
        }
    }

    /// Waits until trades of the market are due, and returns the market. Waits forever without one.
    ///
    /// # Cancel safety
    /// Cancel-safe: the future changes nothing before it is ready.
    async fn wait_until_due<'a>(
        &self,
        market: Option<&'a Market>,
        ticks: &mut Interval,
    ) -> &'a Market {
        let Some(market) = market else { return std::future::pending().await };
        if self.options.rate == 0 {
            tokio::task::consume_budget().await;
        } else {
            ticks.tick().await;
        }
        market
    }

    /// Answers a message of the client. The topics of a subscription are added to `subscribed`.
    async fn handle_message<S>(
        &self,
        socket: &mut WebSocketStream<S>,
        message: Option<Result<Message, Error>>,
        subscribed: &mut Vec<String>,
    ) -> Result<Handled, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(message) = message else {
            return Ok(Handled::Closed);
        };
        let text = match message? {
            Message::Text(text) => text,
            Message::Ping(_) => {
                socket.flush().await?;
                return Ok(Handled::Answered);
            }
            _ => return Ok(Handled::Answered),
        };
        // A text that is no request has no operation, and is answered with an error.
        let request: ClientRequest = serde_json::from_str(&text).unwrap_or_default();
        let mut handled = Handled::Answered;
        let (success, ret_msg) = match (request.op.as_str(), request.args.as_slice()) {
            ("ping", _) => (true, "pong".to_owned()),
            ("subscribe", topics @ [_, ..])
                if topics.iter().all(|t| t.starts_with(TOPIC_PREFIX)) =>
            {
                subscribed.extend_from_slice(topics);
                handled = Handled::Subscribed;
                (true, String::new())
            }
            ("subscribe", topics) => {
                (false, format!("error:handler not found,topic:{}", topics.join(",")))
            }
            (op, _) => (false, format!("error:unknown op {op}")),
        };
        // Relaxed: the number only has to be unique.
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let answer = serde_json::json!({
            "success": success,
            "ret_msg": ret_msg,
            "conn_id": format!("00000000-0000-4000-8000-{number:012}"),
            "op": request.op,
        });
        socket.send(Message::text(answer.to_string())).await?;
        Ok(handled)
    }

    /// Sends the trades up to number `until`, as far as the options allow.
    async fn send_trades<S>(
        &self,
        socket: &mut WebSocketStream<S>,
        market: &Market,
        sent: &mut u64,
        until: u64,
        frames: &mut Vec<u8>,
    ) -> Result<Option<ServeOutcome>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let from = *sent;
        let drop_at = self.options.drop_at.iter().copied().find(|&number| number > from);
        let until = until
            .min(from + MAX_TRADES_PER_WRITE)
            .min(from + self.remaining_trades(from))
            .min(drop_at.unwrap_or(u64::MAX));
        if until > from {
            frames.clear();
            market.append_frames(from..until, frames);
            socket.get_mut().write_all(frames).await?;
            *sent = until;
            self.sent.fetch_max(until, Ordering::Relaxed);
        }
        if drop_at == Some(until) {
            socket.get_mut().flush().await?;
            return Ok(Some(ServeOutcome::Dropped));
        }
        if self.remaining_trades(*sent) == 0 {
            socket.get_mut().flush().await?;
            if self.options.close_at_end {
                socket.close(None).await?;
            }
        }
        Ok(None)
    }

    /// Returns the number of trades that follow the first `sent` trades.
    fn remaining_trades(&self, sent: u64) -> u64 {
        self.options.count.unwrap_or(u64::MAX).saturating_sub(sent)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientRequest {
    op: String,
    args: Vec<String>,
}

/// Returns the number of trades that are due `time` after the first, at `rate` trades a second.
fn trades_due(rate: u64, time: Duration) -> u64 {
    let trades = u128::from(rate) * time.as_nanos() / 1_000_000_000;
    u64::try_from(trades).unwrap_or(u64::MAX)
}

/// Ends the stream without a close frame. Reads the input to its end before, since closing a socket
/// with unread input resets the connection, and the client would not get every byte.
async fn end_without_close_frame<S>(socket: WebSocketStream<S>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = socket.into_inner();
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

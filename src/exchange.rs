//! An exchange of our own on loopback: what the demo records, what tests and benchmarks run
//! against.
//!
//! It speaks the protocol of the configuration's short form: `{"op":"subscribe","args":["…"]}` is
//! acknowledged, `{"op":"ping"}` answered, and trades follow, of all topics in turn. Trade number *n*
//! is a function of the topics and *n* alone, so that whoever recorded them can be checked. The numbers go on over
//! connections: a client that connects again gets the next. Connections at the same time each get all trades.

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
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async};
use tokio_util::sync::CancellationToken;

pub use self::market::Market;

/// Trades that are sent in one write when the rate is not limited.
const TRADES_PER_BURST: u64 = 512;
/// The most trades in one write: a rate that cannot be kept up with takes no more memory.
const MAX_TRADES_PER_WRITE: u64 = 16_384;
/// How often a limited rate sends what is due.
const SEND_INTERVAL: Duration = Duration::from_millis(2);
/// Topics that the exchange knows begin so.
const TOPIC_PREFIX: &str = "publicTrade.";

/// What an exchange does.
#[derive(Debug, Clone, Default)]
pub struct ExchangeOptions {
    /// Trades a second; 0 for as fast as they are taken.
    pub rate: u64,
    /// The number of trades that there are; when they are sent the connection stays open and quiet.
    pub count: Option<u64>,
    /// Whether the exchange closes the connection once `count` trades are sent.
    pub close_at_end: bool,
    /// A connection is dropped, without a close frame, each time when it has come to this number of
    /// trades. Ascending.
    pub drop_at: Vec<u64>,
    /// Speaks TLS with this certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// An exchange that listens.
#[derive(Debug)]
pub struct Exchange {
    listener: TcpListener,
    state: Arc<ExchangeState>,
}

/// What the connections of an exchange share.
#[derive(Debug)]
struct ExchangeState {
    options: ExchangeOptions,
    /// The most trades that one of them has got.
    sent: AtomicU64,
    subscriptions: AtomicU64,
}

/// How a connection is left.
enum ServeOutcome {
    /// The client ended it, or the exchange closed it by handshake.
    Closed,
    /// The exchange is to drop it.
    Dropped,
}

impl Exchange {
    /// Listens at the address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(address: &str, options: ExchangeOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (sent, subscriptions) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { listener, state: Arc::new(ExchangeState { options, sent, subscriptions }) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The endpoint for a recorder.
    ///
    /// # Errors
    /// As [`Exchange::address`].
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.state.options.tls.is_some() { "wss" } else { "ws" };
        Ok(format!("{scheme}://{}", self.address()?))
    }

    /// Serves clients until `stop`. Gives the number of trades that were sent.
    pub async fn serve(self, stop: &CancellationToken) -> u64 {
        let mut clients = JoinSet::new();
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            // Without a file descriptor for this client, the next may find one.
            let Ok((client, _)) = accepted else { continue };
            let (desk, stop) = (Arc::clone(&self.state), stop.clone());
            clients.spawn(async move {
                let served = Box::pin(desk.serve_client(client));
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
        // Relaxed: nothing else depends on it.
        self.sent.load(Ordering::Relaxed)
    }

    async fn serve_client(&self, client: TcpStream) {
        // A client that goes away is served by waiting for the next one.
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
        let mut market = None;
        let mut subscribed = Vec::new();
        let begun = Instant::now();
        let first = self.sent();
        let mut sent = first;
        let mut ticks = interval(SEND_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frames = Vec::new();
        loop {
            let sending = market.is_some() && self.remaining_trades(sent) > 0;
            let full_speed = sending && self.options.rate == 0;
            let left = tokio::select! {
                biased;
                // Answers before trades: a client at full speed must not wait for its pong.
                message = socket.next() => {
                    self.handle_message(&mut socket, message, &mut subscribed, &mut market).await?
                }
                _ = ticks.tick(), if sending && !full_speed => {
                    let due = trades_due(self.options.rate, begun.elapsed());
                    self.send_trades(&mut socket, market.as_ref(), &mut sent, first + due, &mut frames).await?
                }
                () = std::future::ready(()), if full_speed => {
                    tokio::task::consume_budget().await;
                    let until = sent + TRADES_PER_BURST;
                    self.send_trades(&mut socket, market.as_ref(), &mut sent, until, &mut frames).await?
                }
            };
            match left {
                None => {}
                Some(ServeOutcome::Closed) => return Ok(()),
                Some(ServeOutcome::Dropped) => return end_without_close_frame(socket).await,
            }
        }
    }

    async fn handle_message<S>(
        &self,
        socket: &mut WebSocketStream<S>,
        message: Option<Result<Message, Error>>,
        subscribed: &mut Vec<String>,
        market: &mut Option<Market>,
    ) -> Result<Option<ServeOutcome>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(message) = message else {
            return Ok(Some(ServeOutcome::Closed));
        };
        let text = match message? {
            Message::Text(text) => text,
            Message::Ping(_) => {
                socket.flush().await?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        let request: ClientRequest = serde_json::from_str(&text).unwrap_or_default();
        let (success, words) = match (request.op.as_str(), request.args.as_slice()) {
            ("ping", _) => (true, "pong".to_owned()),
            ("subscribe", topics @ [_, ..])
                if topics.iter().all(|t| t.starts_with(TOPIC_PREFIX)) =>
            {
                subscribed.extend_from_slice(topics);
                *market = Some(Market::from_topics(subscribed));
                (true, String::new())
            }
            ("subscribe", topics) => {
                (false, format!("error:handler not found,topic:{}", topics.join(",")))
            }
            (op, _) => (false, format!("error:unknown op {op}")),
        };
        let connection = self.subscriptions.fetch_add(1, Ordering::Relaxed);
        let answer = serde_json::json!({
            "success": success,
            "ret_msg": words,
            "conn_id": format!("00000000-0000-4000-8000-{connection:012}"),
            "op": request.op,
        });
        socket.send(Message::text(answer.to_string())).await?;
        Ok(None)
    }

    /// Sends the trades up to number `until`, as far as the options allow.
    async fn send_trades<S>(
        &self,
        socket: &mut WebSocketStream<S>,
        market: Option<&Market>,
        sent: &mut u64,
        until: u64,
        frames: &mut Vec<u8>,
    ) -> Result<Option<ServeOutcome>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(market) = market else {
            return Ok(None);
        };
        let from = *sent;
        let drop_at = self.options.drop_at.iter().copied().find(|&at| at > from);
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

    /// Trades that may still be sent after so many.
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

/// Trades that a rate gives in this time.
fn trades_due(rate: u64, time: Duration) -> u64 {
    let nanos = u128::from(rate) * time.as_nanos();
    u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX)
}

/// Ends the stream without a close frame, but so that the client gets every byte: a socket that is
/// closed with unread input would reset the connection.
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

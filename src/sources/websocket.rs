//! Messages of a WebSocket feed.

mod answers;
mod conversation;
pub mod frames;
mod head;
mod inflate;
mod link;
mod open;
mod paced;
mod tls;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

pub use self::conversation::{Ping, Subscribe};
use self::frames::{Limits, Unframer};
pub use self::inflate::Encoding;
use self::link::{Link, Liveness};
use self::open::Target;
pub use self::tls::TlsConfig;
use self::watch::Watch;
use crate::batch::Batch;
use crate::json::Selector;
use crate::plugin::{
    BoxError, BuildContext, Cause, Closing, Disconnect, Source, SourceConfig, SourceError,
};
use crate::secrets::Secrets;
use crate::stats::Stats;
use crate::units::{Size, Span};

/// The longest message that any configuration allows: offsets in a batch are 32 bits wide.
const MAX_MESSAGE_SIZE: Size = Size::from_mib(1024);
/// The shortest interval between pings of the application.
const MIN_PING_INTERVAL: Duration = Duration::from_millis(100);
/// The shortest silence after which a link may be called dead.
const MIN_IDLE_TIMEOUT: Span = Span::from_millis(100);
/// The longest rest after a read.
const MAX_READ_PACING: Span = Span::from_secs(1);

/// What happens to control messages: answers to subscriptions, pongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlMessages {
    /// They are written like any message.
    #[default]
    Write,
    /// They are left out and counted.
    Skip,
}

/// Messages of a WebSocket feed, one connection.
///
/// Connects, subscribes, answers pings, keeps the link alive, and connects again for as long as
/// it runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebsocketConfig {
    /// Endpoint: `ws://…` or `wss://…`.
    #[schemars(regex(pattern = r"^(wss?://|\$\{)"))]
    url: String,
    /// What to subscribe to. Without any, nothing is subscribed to.
    #[serde(default)]
    topics: Vec<String>,
    /// Where a message says what its topic is, so that sinks can share messages out by topic; null
    /// for nowhere. What has none there is an answer or a heartbeat.
    #[serde(default = "WebsocketConfig::default_topic_pointer")]
    topic_pointer: Option<Selector>,
    /// What is sent after every connect.
    #[serde(default)]
    subscribe: Subscribe,
    /// A message that is sent at an interval, as many servers want it; null for none.
    #[serde(default = "WebsocketConfig::default_ping")]
    ping: Option<Ping>,
    /// Headers of the handshake. Secrets go in as `"${NAME}"`, from the environment.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The longest that a connect may take, from the name look-up to the subscription.
    #[serde(default = "WebsocketConfig::default_connect_timeout")]
    connect_timeout: Span,
    /// Without any frame for this long the link is dead. After half of it a WebSocket ping is
    /// sent, so that a quiet link is not cut. 0 for never.
    #[serde(default = "WebsocketConfig::default_idle_timeout")]
    idle_timeout: Span,
    /// The longest message. A longer one ends the connection. At most 1GiB.
    #[serde(default = "WebsocketConfig::default_max_message_size")]
    max_message_size: Size,
    /// What happens to the server's answers and pongs.
    #[serde(default)]
    control: ControlMessages,
    /// How binary messages that are not text are made into text.
    #[serde(default)]
    binary: Encoding,
    /// Rest after a small read, so that one wake-up serves many messages. Receive times are coarse
    /// by as much. At most 1s; 0 reads at once.
    #[serde(default = "WebsocketConfig::default_read_pacing")]
    read_pacing: Span,
    /// Certificates for `wss://`.
    #[serde(default)]
    tls: TlsConfig,
}

/// A configuration that can never work.
#[derive(Debug, thiserror::Error)]
enum WebsocketError {
    #[error("`{key}` is {value}; it must be {range}")]
    Range { key: &'static str, value: String, range: String },
    #[error("`tls` is for `wss://`; the URL begins with `ws://`")]
    TlsUnused,
    #[error("`topics[{0}]` is empty")]
    EmptyTopic(usize),
    #[error(
        "`subscribe` has no place for the topics: write \"{{topics}}\" for the list of them or {{topic}} for one"
    )]
    TopicsUnused,
}

impl WebsocketConfig {
    #[expect(clippy::unnecessary_wraps, reason = "the default of an optional key")]
    fn default_ping() -> Option<Ping> {
        Some(Ping::default())
    }

    fn default_topic_pointer() -> Option<Selector> {
        Selector::parse("/topic").ok()
    }

    fn default_connect_timeout() -> Span {
        Span::from_secs(10)
    }

    fn default_idle_timeout() -> Span {
        Span::from_secs(60)
    }

    fn default_max_message_size() -> Size {
        Size::from_mib(64)
    }

    fn default_read_pacing() -> Span {
        Span::from_millis(5)
    }

    fn check(&self) -> Result<(), WebsocketError> {
        let range = |good: bool, key, value: String, range: String| {
            if good { Ok(()) } else { Err(WebsocketError::Range { key, value, range }) }
        };
        let ping = self.ping.as_ref().map_or(MIN_PING_INTERVAL, |ping| ping.interval.duration());
        let size = self.max_message_size;
        let pacing = self.read_pacing;
        let connect = self.connect_timeout;
        range(!connect.is_zero(), "connect_timeout", connect.to_string(), "more than 0".into())?;
        range(
            ping >= MIN_PING_INTERVAL,
            "ping.interval",
            format!("{ping:?}"),
            "at least 100ms".into(),
        )?;
        range(
            (1..=MAX_MESSAGE_SIZE.bytes()).contains(&size.bytes()),
            "max_message_size",
            size.to_string(),
            format!("from 1B to {MAX_MESSAGE_SIZE}"),
        )?;
        range(
            pacing <= MAX_READ_PACING,
            "read_pacing",
            pacing.to_string(),
            format!("at most {MAX_READ_PACING}"),
        )?;
        let idle = self.idle_timeout;
        range(
            idle.is_zero() || idle >= MIN_IDLE_TIMEOUT,
            "idle_timeout",
            idle.to_string(),
            format!("at least {MIN_IDLE_TIMEOUT}, or 0 for never"),
        )?;
        if let Some(empty) = self.topics.iter().position(String::is_empty) {
            return Err(WebsocketError::EmptyTopic(empty));
        }
        if !self.tls.is_empty() && self.url.to_ascii_lowercase().starts_with("ws:") {
            return Err(WebsocketError::TlsUnused);
        }
        if !self.subscribe.uses_topics() {
            return Err(WebsocketError::TopicsUnused);
        }
        Ok(())
    }
}

impl SourceConfig for WebsocketConfig {
    const TYPE: &'static str = "websocket";

    fn example() -> Value {
        json!({
            "url": "wss://stream.bybit.com/v5/public/linear",
            "topics": ["publicTrade.BTCUSDT", "publicTrade.ETHUSDT"],
        })
    }

    fn topics(&self) -> &[String] {
        &self.topics
    }

    fn topic(&self) -> Option<Selector> {
        self.topic_pointer.clone()
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        self.check()?;
        let ping = self.ping.as_ref();
        Ok(Box::new(Websocket {
            target: Target::new(&self, context)?,
            subscriptions: self.subscribe.messages(&self.topics),
            liveness: Liveness {
                ping: ping.map(|p| (conversation::text(&p.message), p.interval.duration())),
                idle: self.idle_timeout.non_zero(),
            },
            limits: Limits { message: self.max_message_size.bytes(), batch: context.max_batch },
            connect_timeout: self.connect_timeout.duration(),
            encoding: self.binary,
            control: self.control,
            stats: Arc::clone(&context.stats),
            secrets: context.secrets().clone(),
            link: None,
        }))
    }
}

struct Websocket {
    target: Target,
    subscriptions: Vec<String>,
    liveness: Liveness,
    limits: Limits,
    connect_timeout: Duration,
    encoding: Encoding,
    control: ControlMessages,
    stats: Arc<Stats>,
    secrets: Secrets,
    link: Option<Link>,
}

impl Websocket {
    async fn open(&mut self) -> Result<Link, Disconnect> {
        let deadline = Instant::now() + self.connect_timeout;
        let (stream, early) = self.target.open(deadline).await?;
        let frames = Unframer::new(self.limits, self.encoding);
        let skip = self.control == ControlMessages::Skip;
        let watch = Watch::new(self.subscriptions.len(), skip);
        let (liveness, stats) = (self.liveness.clone(), Arc::clone(&self.stats));
        let mut link = Link::new(stream, early, frames, watch, liveness, stats);
        let Ok(sent) = timeout_at(deadline, link.send(&self.subscriptions)).await else {
            let detail = "the server does not take the subscription";
            return Err(Disconnect::new(Cause::ConnectTimeout, detail));
        };
        sent.map_err(|error| link::broken(&error))?;
        Ok(link)
    }

    /// A server may repeat what we sent it: a token in the URL, say.
    fn masked(&self, mut lost: Disconnect) -> Disconnect {
        lost.detail = self.secrets.mask(&lost.detail);
        lost
    }
}

#[async_trait]
impl Source for Websocket {
    fn endpoint(&self) -> String {
        self.target.endpoint.clone()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.link = None;
        let link = self.open().await.map_err(|lost| self.masked(lost))?;
        self.link = Some(link);
        debug!(messages = self.subscriptions.len(), "subscription sent");
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let Some(link) = &mut self.link else {
            return Err(Disconnect::new(Cause::Other, "not connected").into());
        };
        let read = link.read(batch).await;
        if read.is_err() {
            self.link = None;
        }
        Ok(read.map_err(|lost| self.masked(lost))?)
    }

    fn close(&mut self) -> Closing {
        self.link.as_mut().map_or(Closing::Done, Link::close)
    }
}

//! Messages of a WebSocket feed.

mod bootstrap;
mod config;
mod connect_rate_limiter;
mod connect_target;
mod connection;
mod deflate_extension;
mod encoding;
pub mod frame_decoder;
mod handshake_reader;
mod paced_stream;
pub(crate) mod profile;
mod proxy;
mod request_builder;
mod rules;
mod silence_monitor;
mod subscription_table;
mod subscription_tracker;
mod template;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use self::bootstrap::request_url;
pub use self::config::{ControlMessages, WebsocketConfig};
use self::connect_rate_limiter::ConnectRateLimiter;
use self::connect_target::{ConnectOptions, ConnectTarget, OpenedStream};
use self::connection::{KeepAlive, WebsocketConnection};
pub use self::deflate_extension::DeflateMode;
pub use self::encoding::BinaryEncoding;
use self::frame_decoder::{FrameDecoder, FrameLimits};
use self::profile::Bootstrap;
pub use self::profile::Profile;
use self::request_builder::RequestBuilder;
pub use self::request_builder::{PingConfig, SubscribeMessages};
use self::rules::Rules;
use self::subscription_tracker::{ProtocolSettings, SubscriptionTracker};
pub use self::tls::TlsConfig;
use crate::base::json::Selector;
use crate::base::secrets::Secrets;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{
    BoxError, BuildContext, CloseStatus, ConnectionPolicy, DETECTION_TOLERANCE, Disconnect,
    DownCause, Source, SourceConfig, SourceError, SourceEvent,
};

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

    fn topic_selector(&self) -> Option<Selector> {
        self.topic_pointer.clone()
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        let mut all = self.build_all(context)?;
        all.pop().ok_or_else(|| "there is no connection to make".into())
    }

    fn build_all(self, context: &BuildContext) -> Result<Vec<Box<dyn Source>>, BoxError> {
        self.check()?;
        let profile = &self.profile;
        let whole = RequestBuilder::new(
            self.topics.clone(),
            &profile.topic,
            profile.item.clone(),
            self.subscribe.clone(),
        )?;
        let welcome = profile.welcome.as_ref().map(Rules::from_pattern);
        let (rules, welcome) = (Rules::compile(&profile.answers)?, welcome.transpose()?);
        let turns = Arc::new(ConnectRateLimiter::new(self.limits.connect_interval.to_duration()));
        let reach = Arc::new(ConnectOptions::new(&self, context)?);
        let ping = self.ping.as_ref();
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for (shard, topics) in self.shard_topics().into_iter().enumerate() {
            let manners = ProtocolSettings {
                requests: whole.with_topics(topics),
                rules: rules.clone(),
                opening_messages: profile.opening.clone(),
                welcome: welcome.clone(),
                topics_per_request: self.limits.topics_per_request,
                request_interval: self.limits.request_interval.to_duration(),
                topic_pointer: self.topic_pointer.clone(),
                skip_control: self.control == ControlMessages::Skip,
                silence_timeout: self.silence_timeout.to_non_zero_duration(),
                topic_silence: self.topic_silence.to_non_zero_duration(),
                secrets: context.secrets().clone(),
                shard,
            };
            sources.push(Box::new(WebsocketSource {
                target: ConnectTarget::new(&self.url, &reach)?,
                bootstrap: profile.bootstrap.clone(),
                options: Arc::clone(&reach),
                settings: Arc::new(manners),
                keep_alive: KeepAlive {
                    ping: ping.map(|p| (p.message.clone(), p.interval.to_duration())),
                    idle_timeout: self.idle_timeout.to_non_zero_duration(),
                },
                limits: FrameLimits {
                    max_message_bytes: self.max_message_size.bytes(),
                    max_batch_messages: context.max_batch_messages,
                },
                connect_timeout: self.connect_timeout.to_duration(),
                encoding: self.binary,
                connect_limiter: Arc::clone(&turns),
                stats: Arc::clone(&context.stats),
                secrets: context.secrets().clone(),
                policy: ConnectionPolicy {
                    connections: self.connections,
                    max_age: self.limits.max_connection_age.to_non_zero_duration(),
                },
                connection: None,
                leftover_events: Vec::new(),
            }));
        }
        Ok(sources)
    }
}

impl WebsocketConfig {
    /// The topics of each connection.
    fn shard_topics(&self) -> Vec<Vec<String>> {
        let limit = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let (most, bytes) = (
            limit(self.limits.topics_per_connection),
            limit(self.limits.topic_bytes_per_connection),
        );
        let mut shards = vec![Vec::new()];
        let mut used = 0;
        for topic in &self.topics {
            // With its quotes and a comma.
            let size = topic.len() + 3;
            let full = shards.last().is_some_and(|shard| shard.len() >= most);
            let full = full || (used > 0 && used + size > bytes);
            if full {
                shards.push(Vec::new());
                used = 0;
            }
            used += size;
            if let Some(shard) = shards.last_mut() {
                shard.push(topic.clone());
            }
        }
        shards
    }
}

struct WebsocketSource {
    target: ConnectTarget,
    bootstrap: Option<Bootstrap>,
    options: Arc<ConnectOptions>,
    settings: Arc<ProtocolSettings>,
    keep_alive: KeepAlive,
    limits: FrameLimits,
    connect_timeout: Duration,
    encoding: BinaryEncoding,
    /// When the next connect may be, shared by all connections.
    connect_limiter: Arc<ConnectRateLimiter>,
    stats: Arc<PipelineStats>,
    secrets: Secrets,
    policy: ConnectionPolicy,
    connection: Option<WebsocketConnection>,
    /// What a link that is gone had to tell.
    leftover_events: Vec<SourceEvent>,
}

impl WebsocketSource {
    async fn open_connection(&mut self) -> Result<WebsocketConnection, Disconnect> {
        self.connect_limiter.acquire().await;
        let deadline = Instant::now() + self.connect_timeout;
        if let Some(bootstrap_at) = &self.bootstrap {
            let url = request_url(bootstrap_at, &self.options, deadline).await?;
            self.target.redirect(&url)?;
        }
        let OpenedStream { stream, leftover: early, deflate } =
            self.target.connect(deadline).await?;
        let mut frames = FrameDecoder::new(self.limits, self.encoding);
        if let Some(agreed) = deflate {
            frames = frames.with_deflate(agreed.server_context_takeover);
        }
        let watch = SubscriptionTracker::new(&self.settings, Arc::clone(&self.stats));
        let (liveness, stats) = (self.keep_alive.clone(), Arc::clone(&self.stats));
        let mut link = WebsocketConnection::new(stream, early, frames, watch, liveness, stats);
        let Ok(sent) = timeout_at(deadline, link.send_subscription()).await else {
            let detail = "the server does not take the subscription";
            return Err(Disconnect::new(DownCause::ConnectTimeout, detail));
        };
        sent?;
        Ok(link)
    }

    /// A server may repeat what we sent it: a token in the URL, say.
    fn mask_secrets(&self, mut lost: Disconnect) -> Disconnect {
        lost.detail = self.secrets.mask(&lost.detail);
        lost
    }
}

#[async_trait]
impl Source for WebsocketSource {
    fn endpoint(&self) -> String {
        self.target.endpoint.clone()
    }

    fn topics(&self) -> &[String] {
        self.settings.requests.topics()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.connection = None;
        let link = self.open_connection().await.map_err(|lost| self.mask_secrets(lost))?;
        self.connection = Some(link);
        debug!(topics = self.settings.requests.topics().len(), "subscription sent");
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let Some(link) = &mut self.connection else {
            return Err(Disconnect::new(DownCause::Other, "not connected").into());
        };
        let read = link.read(batch).await;
        let Err(mut lost) = read else { return Ok(()) };
        let silent_for = link.silent_for();
        if lost.cause == DownCause::Io && silent_for > DETECTION_TOLERANCE {
            // Whatever was on its way since is gone, too.
            lost.silent_for = lost.silent_for.max(Some(silent_for));
        }
        self.leftover_events.append(&mut link.take_events());
        self.connection = None;
        Err(self.mask_secrets(lost).into())
    }

    fn connection_policy(&self) -> ConnectionPolicy {
        self.policy
    }

    fn duplicate(&self) -> Option<Box<dyn Source>> {
        Some(Box::new(Self {
            target: self.target.clone(),
            bootstrap: self.bootstrap.clone(),
            options: Arc::clone(&self.options),
            settings: Arc::clone(&self.settings),
            keep_alive: self.keep_alive.clone(),
            limits: self.limits,
            connect_timeout: self.connect_timeout,
            encoding: self.encoding,
            connect_limiter: Arc::clone(&self.connect_limiter),
            stats: Arc::clone(&self.stats),
            secrets: self.secrets.clone(),
            policy: self.policy,
            connection: None,
            leftover_events: Vec::new(),
        }))
    }

    fn is_subscribed(&self) -> bool {
        self.connection.as_ref().is_some_and(WebsocketConnection::is_subscribed)
    }

    fn take_subscribed(&mut self) -> Vec<String> {
        self.connection.as_mut().map(WebsocketConnection::drain_newly_active).unwrap_or_default()
    }

    fn is_delivering(&self) -> bool {
        self.connection.as_ref().is_some_and(WebsocketConnection::is_delivering)
    }

    fn has_announced_close(&self) -> bool {
        self.connection.as_ref().is_some_and(WebsocketConnection::has_announced_close)
    }

    fn silent_for(&self) -> Option<Duration> {
        self.connection.as_ref().map(WebsocketConnection::silent_for)
    }

    fn take_events(&mut self) -> Vec<SourceEvent> {
        let mut events = std::mem::take(&mut self.leftover_events);
        events.append(
            &mut self.connection.as_mut().map(WebsocketConnection::take_events).unwrap_or_default(),
        );
        events
    }

    fn close(&mut self) -> CloseStatus {
        self.connection.as_mut().map_or(CloseStatus::Done, WebsocketConnection::close)
    }
}

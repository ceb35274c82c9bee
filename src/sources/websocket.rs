//! The source of messages of a WebSocket feed.

mod answer_rule;
mod bootstrap;
mod ca_file_verifier;
mod certificate_advice;
mod certificate_summary;
mod config;
mod connect_config_error;
mod connect_deadline;
mod connect_options;
mod connect_rate_limiter;
mod connect_target;
mod connection;
mod credentials;
mod deflate_extension;
mod dialer;
mod disconnects;
mod encoding;
mod encryption;
mod endpoint_url;
pub mod frame_decoder;
mod host_port;
mod http_body;
mod http_client;
mod http_date;
mod http_exchange;
mod http_request;
mod http_response;
mod no_proxy;
mod paced_stream;
mod pem_file;
mod ping_config;
pub(crate) mod profile;
mod protocol_settings;
mod proxy;
mod quote;
mod reconnect_config;
mod request_builder;
mod request_id;
mod request_purpose;
mod response_parser;
mod retry_after;
mod rule;
mod rules;
mod server_route;
mod silence_monitor;
mod socks5;
mod subscribe_messages;
mod subscription_table;
mod subscription_tracker;
mod template;
mod tls;
mod topic_case;
mod topic_vec;
mod transport;
mod unsupported_key;
mod upgrade_request;
mod upgrade_response;
mod venue_limits;
mod wire_message;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use self::answer_rule::AnswerRule;
use self::bootstrap::request_url;
pub use self::config::{ControlMessages, WebsocketConfig};
use self::connect_options::ConnectOptions;
use self::connect_rate_limiter::ConnectRateLimiter;
use self::connect_target::{ConnectTarget, OpenedStream};
use self::connection::{KeepAlive, WebsocketConnection};
pub use self::deflate_extension::DeflateMode;
pub use self::encoding::BinaryEncoding;
use self::frame_decoder::{FrameDecoder, FrameLimits};
pub use self::ping_config::PingConfig;
use self::profile::Bootstrap;
pub use self::profile::Profile;
use self::protocol_settings::ProtocolSettings;
use self::quote::mask_and_shorten;
pub use self::reconnect_config::ReconnectConfig;
use self::request_builder::RequestBuilder;
use self::rules::Rules;
pub use self::subscribe_messages::SubscribeMessages;
use self::subscription_tracker::SubscriptionTracker;
pub use self::tls::TlsConfig;
use self::topic_case::check_topic_case;
use crate::base::json::Selector;
use crate::base::secrets::Secrets;
use crate::base::shard_index::ShardIndex;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{
    BoxError, BuildContext, CloseStatus, ConnectionEvent, ConnectionPolicy, DETECTION_TOLERANCE,
    Disconnect, DownCause, Source, SourceConfig, SourceError, Subscription, TopicsOutcome,
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
        let mut sources = self.build_all(context)?;
        match sources.pop() {
            Some(source) if sources.is_empty() => Ok(source),
            _ => Err("`topics` need more than one connection".into()),
        }
    }

    fn build_all(self, context: &BuildContext) -> Result<Vec<Box<dyn Source>>, BoxError> {
        self.check()?;
        context.secrets().add(self.profile_secrets.iter().cloned());
        if let Some(warning) = &self.profile_exposure {
            warn!(pipeline = context.pipeline, "{}", context.mask(warning));
        }
        let profile = &self.profile;
        let requests = RequestBuilder::new(
            self.topics.clone(),
            &profile.topic,
            profile.item.clone(),
            self.subscribe.clone(),
        )?
        .with_unsubscribe(self.unsubscribe.clone());
        if let Some(warning) = check_topic_case(&profile.topic_case, &self.topics)? {
            warn!(pipeline = context.pipeline, "{}", context.mask(&warning));
        }
        let rules = Rules::compile(&profile.answers)?;
        let welcome = profile.welcome.as_ref().map(AnswerRule::from_pattern).transpose()?;
        let connect_interval = self.limits.connect_interval.to_duration();
        let connect_limiter = Arc::new(ConnectRateLimiter::new(connect_interval));
        let options = Arc::new(ConnectOptions::new(&self, context)?);
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        let shards = self.limits.shard_topics(&self.topics, context.shards());
        for (shard, topics) in shards.into_iter().enumerate() {
            let settings = ProtocolSettings {
                requests: requests.with_topics(topics),
                rules: rules.clone(),
                opening_messages: profile.opening.clone(),
                welcome: welcome.clone(),
                topics_per_request: self.limits.topics_per_request,
                request_interval: self.limits.request_interval.to_duration(),
                topic_pointer: self.topic_pointer.clone(),
                control: self.control,
                silence_timeout: self.silence_timeout.to_non_zero_duration(),
                topic_silence: self.topic_silence.to_non_zero_duration(),
                secrets: context.secrets().clone(),
                shard: ShardIndex::new(shard),
            };
            sources.push(Box::new(WebsocketSource {
                target: ConnectTarget::new(&self.url, &options)?,
                bootstrap: profile.bootstrap.clone(),
                options: Arc::clone(&options),
                settings: Arc::new(settings),
                keep_alive: KeepAlive {
                    ping: self.ping.clone(),
                    idle_timeout: self.idle_timeout.to_non_zero_duration(),
                },
                limits: FrameLimits {
                    max_message_bytes: self.max_message_size.bytes(),
                    max_batch_messages: context.max_batch_messages,
                },
                connect_timeout: self.connect_timeout.to_duration(),
                encoding: self.binary,
                connect_limiter: Arc::clone(&connect_limiter),
                stats: Arc::clone(&context.stats),
                secrets: context.secrets().clone(),
                policy: ConnectionPolicy {
                    connections: self.connections,
                    max_age: self.limits.max_connection_age.to_non_zero_duration(),
                    reconnect: self.reconnect.to_policy(),
                },
                connection: None,
            }));
        }
        Ok(sources)
    }
}

/// A source of the messages of one shard of the topics.
struct WebsocketSource {
    target: ConnectTarget,
    bootstrap: Option<Bootstrap>,
    options: Arc<ConnectOptions>,
    settings: Arc<ProtocolSettings>,
    keep_alive: KeepAlive,
    limits: FrameLimits,
    connect_timeout: Duration,
    encoding: BinaryEncoding,
    /// Shared by all connections of the configuration.
    connect_limiter: Arc<ConnectRateLimiter>,
    stats: Arc<PipelineStats>,
    secrets: Secrets,
    policy: ConnectionPolicy,
    connection: Option<WebsocketConnection>,
}

impl WebsocketSource {
    /// Connects, at once again without compression if the server's answer to it is faulty.
    async fn open_connection(&mut self) -> Result<WebsocketConnection, Disconnect> {
        let offers_deflate = self.options.offers_deflate();
        let opened = self.try_open_connection().await;
        if opened.is_err() && self.options.offers_deflate() != offers_deflate {
            return self.try_open_connection().await;
        }
        opened
    }

    async fn try_open_connection(&mut self) -> Result<WebsocketConnection, Disconnect> {
        self.connect_limiter.acquire().await;
        let deadline = Instant::now() + self.connect_timeout;
        if let Some(bootstrap) = &self.bootstrap {
            let url = request_url(bootstrap, &self.options, deadline).await?;
            self.target.redirect(&url)?;
        }
        let OpenedStream { stream, is_deflate_agreed } = self.target.connect(deadline).await?;
        let mut decoder = FrameDecoder::new(self.limits, self.encoding);
        if is_deflate_agreed {
            decoder = decoder.with_deflate();
        }
        let tracker = SubscriptionTracker::new(&self.settings, Arc::clone(&self.stats));
        let keep_alive = self.keep_alive.clone();
        let stats = Arc::clone(&self.stats);
        let mut connection = WebsocketConnection::new(stream, decoder, tracker, keep_alive, stats);
        let sent = timeout_at(deadline, connection.send_subscription()).await;
        sent.unwrap_or_else(|_| {
            let detail = "the server does not read the subscription";
            Err(Disconnect::new(DownCause::ConnectTimeout, detail))
        })?;
        Ok(connection)
    }

    /// Masks secrets in a text that may quote the server, which may repeat a token of the URL, and
    /// shortens it.
    fn mask_secrets(&self, mut disconnect: Disconnect) -> Disconnect {
        disconnect.detail = mask_and_shorten(&disconnect.detail, &self.secrets);
        disconnect
    }
}

#[async_trait]
impl Source for WebsocketSource {
    fn endpoint(&self) -> String {
        self.target.endpoint.clone()
    }

    fn topics(&self) -> &[String] {
        self.settings.requests.topics().as_slice()
    }

    fn set_topics(&mut self, topics: &[String]) -> TopicsOutcome {
        if !self.settings.requests.can_change_to(topics) {
            return TopicsOutcome::NeedsConnection;
        }
        let requests = self.settings.requests.with_topics(topics.to_vec());
        let settings = ProtocolSettings { requests, ..(*self.settings).clone() };
        self.settings = Arc::new(settings);
        if let Some(connection) = &mut self.connection {
            connection.set_topics(&self.settings);
        }
        TopicsOutcome::Changed
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        self.connection = None;
        let opened = self.open_connection().await;
        let mut opened = opened.map_err(|disconnect| self.mask_secrets(disconnect))?;
        let subscription = opened.initial_subscription();
        self.connection = Some(opened);
        debug!(topics = self.topics().len(), "subscription sent");
        Ok(subscription)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        let Some(connection) = &mut self.connection else {
            return Err(Disconnect::new(DownCause::Other, "not connected").into());
        };
        let Err(mut disconnect) = connection.read(batch, events).await else { return Ok(()) };
        let silent_for = connection.silent_for();
        if disconnect.cause == DownCause::Io && silent_for > DETECTION_TOLERANCE {
            // Messages that the server sent since the last frame are lost as well.
            disconnect.silent_for = disconnect.silent_for.max(Some(silent_for));
        }
        let pause = self.options.read_pacing;
        if pause > DETECTION_TOLERANCE {
            // The connection may have been lost at the beginning of a pause.
            disconnect.silent_for = disconnect.silent_for.max(Some(pause.min(silent_for)));
        }
        if connection.has_compression_fault() {
            self.options.withdraw_deflate(&self.target.endpoint, &disconnect.detail);
        }
        self.connection = None;
        Err(self.mask_secrets(disconnect).into())
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
        }))
    }

    fn silent_for(&self) -> Option<Duration> {
        self.connection.as_ref().map(WebsocketConnection::silent_for)
    }

    fn close(&mut self) -> CloseStatus {
        self.connection.as_mut().map_or(CloseStatus::Done, WebsocketConnection::close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_for_several_connections_are_not_built_into_one_source() {
        let build = |topics_per_connection: usize| {
            let config: WebsocketConfig = serde_json::from_value(json!({
                "url": "ws://localhost",
                "topics": ["a", "b", "c"],
                "topics_per_connection": topics_per_connection,
            }))
            .unwrap();
            let stats = Arc::<PipelineStats>::default();
            config
                .build(&BuildContext::new(Vec::new(), stats, 1))
                .map(|source| source.topics().len())
        };
        assert_eq!(build(3).unwrap(), 3);
        assert_eq!(build(2).unwrap_err().to_string(), "`topics` need more than one connection");
    }
}

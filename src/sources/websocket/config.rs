//! The configuration of a WebSocket source: its keys, completed by the profile.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::deflate_extension::DeflateMode;
use super::encoding::BinaryEncoding;
use super::endpoint_url::{EndpointUrl, UrlProtocol};
use super::host_port::HostPort;
use super::ping_config::PingConfig;
use super::profile::{NamedProfile, Profile, ProfileError, ProfileQuery};
use super::reconnect_config::ReconnectConfig;
use super::subscribe_messages::SubscribeMessages;
use super::tls::TlsConfig;
use super::venue_limits::VenueLimits;
use crate::base::json::Selector;
use crate::base::path_text;
use crate::base::units::{ByteSize, ConfigDuration};

/// Maximum value of `max_message_size`: offsets in a batch are 32 bits wide.
const MAX_MESSAGE_SIZE: ByteSize = ByteSize::from_mib(1024);
/// Minimum value of `idle_timeout`.
const MIN_IDLE_TIMEOUT: ConfigDuration = ConfigDuration::from_millis(100);
/// Minimum value of `max_connection_age`.
const MIN_CONNECTION_AGE: ConfigDuration = ConfigDuration::from_secs(5);
/// Maximum value of `read_pacing`.
const MAX_READ_PACING: ConfigDuration = ConfigDuration::from_secs(1);
/// Maximum value of `connections`.
const MAX_CONNECTIONS: usize = 2;

/// The handling of control messages, such as answers to subscriptions and pongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlMessages {
    /// Control messages are written like any message.
    #[default]
    Write,
    /// Control messages are left out and counted.
    Skip,
}

/// Messages of a WebSocket feed.
///
/// Connects, subscribes, answers pings, keeps the connection alive, and reconnects for as long as the
/// recorder runs. The protocol of the server comes from a profile, which keys in the configuration
/// override. More topics than a connection may have are split over several connections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["url"]}, {"required": ["profile"]}]))]
#[expect(clippy::option_option, reason = "left out, null, or a value")]
struct RawWebsocketConfig {
    /// Endpoint: `ws://…` or `wss://…`. The default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\s*([Ww][Ss]{1,2}://|\$\{)"))]
    url: Option<String>,
    /// Name of the server's profile; `streamer profiles` lists them. The default is the profile of
    /// the URL's host, or else `generic`.
    #[serde(default)]
    profile: Option<String>,
    /// Directory with profiles of your own, one file `NAME.json` each. A profile there replaces the
    /// built-in one of the same name.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "path_text::deserialize"
    )]
    profile_dir: Option<PathBuf>,
    /// Topics to subscribe to. The default is none.
    #[serde(default)]
    topics: Vec<String>,
    /// Selector of the topic in a message, by which sinks and stages can tell topics apart; null for
    /// none. A message without a topic is an answer or a heartbeat. The default is that of the
    /// profile.
    #[serde(
        default,
        deserialize_with = "deserialize_nullable",
        skip_serializing_if = "Option::is_none"
    )]
    topic_pointer: Option<Option<Selector>>,
    /// Messages that are sent after every connect. The default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subscribe: Option<SubscribeMessages>,
    /// Message that is sent at an interval, which many servers require; null for none. The default is
    /// that of the profile.
    #[serde(
        default,
        deserialize_with = "deserialize_nullable",
        skip_serializing_if = "Option::is_none"
    )]
    ping: Option<Option<PingConfig>>,
    /// Headers of the handshake. A secret is written as `"${NAME}"` and read from the environment.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Maximum duration of a connect, from the name look-up to the subscription.
    #[serde(default = "RawWebsocketConfig::default_connect_timeout")]
    connect_timeout: ConfigDuration,
    /// Time without any frame after which the connection counts as dead. After half of it a WebSocket
    /// ping is sent, which keeps a quiet connection alive. At least 100ms; 0 for never.
    #[serde(default = "RawWebsocketConfig::default_idle_timeout")]
    idle_timeout: ConfigDuration,
    /// Maximum size of a message, at most 1GiB. A longer message ends the connection.
    #[serde(default = "RawWebsocketConfig::default_max_message_size")]
    max_message_size: ByteSize,
    /// Handling of the server's answers and pongs.
    #[serde(default)]
    control: ControlMessages,
    /// Compression of binary messages that are not text. The default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary: Option<BinaryEncoding>,
    /// Maximum number of topics in a request; 0 for no limit. The default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topics_per_request: Option<usize>,
    /// Maximum number of topics on a connection, above which they are split over several connections;
    /// 0 for no limit. The default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topics_per_connection: Option<usize>,
    /// Minimum time between two requests on a connection. The default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_interval: Option<ConfigDuration>,
    /// Minimum time between two connects. The default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connect_interval: Option<ConfigDuration>,
    /// Delays between attempts to connect. Where `connect_interval` is longer it holds.
    #[serde(default)]
    reconnect: ReconnectConfig,
    /// Age at which a connection is replaced without a gap: the new one is subscribed before the old
    /// one is closed, and messages received over both are written once. At least 5s; 0 for never. The
    /// default is that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_connection_age: Option<ConfigDuration>,
    /// Number of connections that deliver the same messages, 1 or 2. With 2 the loss of one connection
    /// loses no message. Messages received over both are written once.
    #[serde(default = "RawWebsocketConfig::default_connections")]
    #[schemars(range(min = 1, max = 2))]
    connections: usize,
    /// Time without data (answers and heartbeats are none) after which all topics are subscribed to
    /// again. After the same time once more the connection is closed. 0 for never.
    #[serde(default)]
    silence_timeout: ConfigDuration,
    /// Like `silence_timeout`, for each topic; for feeds in which every topic always has data. 0 for
    /// never.
    #[serde(default)]
    topic_silence: ConfigDuration,
    /// Proxy to connect through: `http://HOST:PORT` (CONNECT) or `socks5://HOST:PORT`, with
    /// `USER:PASSWORD@` in front of the host if the proxy requires it; `none` for none. The default
    /// is that of the environment: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    /// Use of compression (permessage-deflate, RFC 7692): less traffic, a little more work for the
    /// processor.
    #[serde(default)]
    deflate: DeflateMode,
    /// Pause after a small read, so that one wake-up serves many messages. Receive times are coarser
    /// by as much. At most 1s; 0 for no pause.
    #[serde(default = "RawWebsocketConfig::default_read_pacing")]
    read_pacing: ConfigDuration,
    /// Certificates for `wss://`.
    #[serde(default)]
    tls: TlsConfig,
}

/// A key whose value can never work.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebsocketKeyError {
    #[error("`{key}` is {value}; it must be {range}")]
    OutOfRange { key: &'static str, value: String, range: String },
    #[error("`tls` is for `wss://`; the URL begins with `ws://`")]
    TlsWithoutWss,
    #[error("`topics[{0}]` is empty")]
    EmptyTopic(usize),
    #[error("`topics[{0}]` is `{1}`, which occurs in the list before")]
    DuplicateTopic(usize, String),
    #[error("`url` is needed: the profile `{0}` has none")]
    MissingUrl(String),
}

impl RawWebsocketConfig {
    fn default_connections() -> usize {
        1
    }

    fn default_connect_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(10)
    }

    fn default_idle_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(60)
    }

    fn default_max_message_size() -> ByteSize {
        ByteSize::from_mib(64)
    }

    fn default_read_pacing() -> ConfigDuration {
        ConfigDuration::from_millis(5)
    }
}

/// Deserializes a key that is present, although its value may be null.
#[expect(clippy::option_option, reason = "left out, null, or a value")]
fn deserialize_nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The configuration of a WebSocket source, completed by the profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "RawWebsocketConfig", into = "RawWebsocketConfig")]
pub struct WebsocketConfig {
    pub(super) url: String,
    pub(super) profile_name: String,
    pub(super) profile_dir: Option<PathBuf>,
    pub(super) profile: Profile,
    /// The profile as it is written, with `${NAME}` for its secrets.
    pub(super) written_profile: Profile,
    /// The texts in the profile that must not be shown.
    pub(super) profile_secrets: Vec<String>,
    /// Warning that others can read secrets in the profile.
    pub(super) profile_exposure: Option<String>,
    pub(super) topics: Vec<String>,
    pub(super) topic_pointer: Option<Selector>,
    pub(super) subscribe: SubscribeMessages,
    /// Template of the request that ends subscriptions: that of the profile, if `subscribe` is.
    pub(super) unsubscribe: Option<Value>,
    pub(super) ping: Option<PingConfig>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) connect_timeout: ConfigDuration,
    pub(super) idle_timeout: ConfigDuration,
    pub(super) max_message_size: ByteSize,
    pub(super) control: ControlMessages,
    pub(super) binary: BinaryEncoding,
    pub(super) limits: VenueLimits,
    pub(super) reconnect: ReconnectConfig,
    pub(super) connections: usize,
    pub(super) silence_timeout: ConfigDuration,
    pub(super) topic_silence: ConfigDuration,
    pub(super) proxy: Option<String>,
    pub(super) deflate: DeflateMode,
    pub(super) read_pacing: ConfigDuration,
    pub(super) tls: TlsConfig,
}

/// The schema of the configuration as it is written, before the profile completes it.
impl JsonSchema for WebsocketConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WebsocketConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        RawWebsocketConfig::json_schema(generator)
    }
}

impl TryFrom<RawWebsocketConfig> for WebsocketConfig {
    type Error = WebsocketConfigError;

    fn try_from(raw: RawWebsocketConfig) -> Result<Self, WebsocketConfigError> {
        // A URL that is invalid is an error when the source is built.
        let parse = |url| EndpointUrl::parse(url, UrlProtocol::WebSocket).ok();
        let server = raw.url.as_deref().and_then(parse).map(|url| url.server);
        let query = ProfileQuery {
            name: raw.profile.as_deref(),
            host: server.as_ref().map(HostPort::name),
            dir: raw.profile_dir.as_deref(),
        };
        let NamedProfile { name: profile_name, profile, written, secrets, exposure } =
            query.find()?;
        let no_url = || WebsocketKeyError::MissingUrl(profile_name.clone());
        let url = raw.url.or_else(|| profile.url.clone()).ok_or_else(no_url)?;
        let defaults = &profile.limits;
        let limits = VenueLimits {
            topics_per_request: raw.topics_per_request.unwrap_or(defaults.topics_per_request),
            topics_per_connection: raw
                .topics_per_connection
                .unwrap_or(defaults.topics_per_connection),
            topic_bytes_per_connection: defaults.topic_bytes_per_connection,
            request_interval: raw.request_interval.unwrap_or(defaults.request_interval),
            connect_interval: raw.connect_interval.unwrap_or(defaults.connect_interval),
            max_connection_age: raw.max_connection_age.unwrap_or(defaults.max_connection_age),
        };
        let profile_subscribe = SubscribeMessages::Template(profile.subscribe.clone());
        let subscribe = raw.subscribe.unwrap_or_else(|| profile_subscribe.clone());
        let unsubscribe = profile.unsubscribe.clone().filter(|_| subscribe == profile_subscribe);
        Ok(Self {
            url,
            profile_name,
            profile_dir: raw.profile_dir,
            topics: raw.topics,
            topic_pointer: raw.topic_pointer.unwrap_or(profile.topic_pointer.clone()),
            subscribe,
            unsubscribe,
            ping: raw.ping.unwrap_or(profile.ping.clone()),
            headers: raw.headers,
            connect_timeout: raw.connect_timeout,
            idle_timeout: raw.idle_timeout,
            max_message_size: raw.max_message_size,
            control: raw.control,
            binary: raw.binary.unwrap_or(profile.binary),
            limits,
            reconnect: raw.reconnect,
            connections: raw.connections,
            silence_timeout: raw.silence_timeout,
            topic_silence: raw.topic_silence,
            proxy: raw.proxy,
            deflate: raw.deflate,
            read_pacing: raw.read_pacing,
            tls: raw.tls,
            profile,
            written_profile: written,
            profile_secrets: secrets,
            profile_exposure: exposure,
        })
    }
}

impl From<WebsocketConfig> for RawWebsocketConfig {
    /// Values that come from the profile are as they are written there, so that no secret is shown.
    fn from(config: WebsocketConfig) -> Self {
        let WebsocketConfig { profile, written_profile: written, .. } = config;
        let subscribe = SubscribeMessages::Template(profile.subscribe);
        Self {
            url: if profile.url.as_ref() == Some(&config.url) {
                written.url
            } else {
                Some(config.url)
            },
            profile: Some(config.profile_name),
            profile_dir: config.profile_dir,
            topics: config.topics,
            topic_pointer: Some(config.topic_pointer),
            subscribe: Some(if config.subscribe == subscribe {
                SubscribeMessages::Template(written.subscribe)
            } else {
                config.subscribe
            }),
            ping: Some(if config.ping == profile.ping { written.ping } else { config.ping }),
            headers: config.headers,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            max_message_size: config.max_message_size,
            control: config.control,
            binary: Some(config.binary),
            topics_per_request: Some(config.limits.topics_per_request),
            topics_per_connection: Some(config.limits.topics_per_connection),
            request_interval: Some(config.limits.request_interval),
            connect_interval: Some(config.limits.connect_interval),
            reconnect: config.reconnect,
            max_connection_age: Some(config.limits.max_connection_age),
            connections: config.connections,
            silence_timeout: config.silence_timeout,
            topic_silence: config.topic_silence,
            proxy: config.proxy,
            deflate: config.deflate,
            read_pacing: config.read_pacing,
            tls: config.tls,
        }
    }
}

/// A configuration that cannot be completed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebsocketConfigError {
    #[error("{key}: {0}", key = profile_error_key(.0))]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Key(#[from] WebsocketKeyError),
}

impl WebsocketConfig {
    /// Checks what the types do not.
    pub(super) fn check(&self) -> Result<(), WebsocketKeyError> {
        let out_of_range = |key, value: &dyn fmt::Display, range: &str| {
            let value = value.to_string();
            Err(WebsocketKeyError::OutOfRange { key, value, range: range.to_owned() })
        };
        if self.connect_timeout.is_zero() {
            return out_of_range("connect_timeout", &self.connect_timeout, "more than 0");
        }
        if let Some(ping) = &self.ping
            && ping.interval.to_duration() < PingConfig::MIN_INTERVAL
        {
            let range = format!("at least {:?}", PingConfig::MIN_INTERVAL);
            return out_of_range("ping.interval", &ping.interval, &range);
        }
        if !(1..=MAX_MESSAGE_SIZE.bytes()).contains(&self.max_message_size.bytes()) {
            let range = format!("from 1B to {MAX_MESSAGE_SIZE}");
            return out_of_range("max_message_size", &self.max_message_size, &range);
        }
        if self.read_pacing > MAX_READ_PACING {
            let range = format!("at most {MAX_READ_PACING}");
            return out_of_range("read_pacing", &self.read_pacing, &range);
        }
        if !self.idle_timeout.is_zero() && self.idle_timeout < MIN_IDLE_TIMEOUT {
            let range = format!("at least {MIN_IDLE_TIMEOUT}, or 0 for never");
            return out_of_range("idle_timeout", &self.idle_timeout, &range);
        }
        let max_age = self.limits.max_connection_age;
        if !max_age.is_zero() && max_age < MIN_CONNECTION_AGE {
            let range = format!("at least {MIN_CONNECTION_AGE}, or 0 for never");
            return out_of_range("max_connection_age", &max_age, &range);
        }
        let ReconnectConfig { first, max } = self.reconnect;
        if !(ReconnectConfig::MIN_FIRST..=ReconnectConfig::MAX).contains(&first) {
            let range = format!("from {} to {}", ReconnectConfig::MIN_FIRST, ReconnectConfig::MAX);
            return out_of_range("reconnect.first", &first, &range);
        }
        if !(first..=ReconnectConfig::MAX).contains(&max) {
            let range =
                format!("from {first}, which is `reconnect.first`, to {}", ReconnectConfig::MAX);
            return out_of_range("reconnect.max", &max, &range);
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            return out_of_range("connections", &self.connections, "1 or 2");
        }
        let mut before = HashSet::new();
        for (index, topic) in self.topics.iter().enumerate() {
            if topic.is_empty() {
                return Err(WebsocketKeyError::EmptyTopic(index));
            }
            if !before.insert(topic) {
                return Err(WebsocketKeyError::DuplicateTopic(index, topic.clone()));
            }
        }
        let is_plain = self.url.trim_start().to_ascii_lowercase().starts_with("ws:");
        if !self.tls.is_empty() && is_plain {
            return Err(WebsocketKeyError::TlsWithoutWss);
        }
        Ok(())
    }
}

/// Returns the key that an error of the profile is about.
fn profile_error_key(error: &ProfileError) -> &'static str {
    match error {
        ProfileError::Unknown { .. } => "`profile`",
        ProfileError::Invalid(_) | ProfileError::Read { .. } => "`profile_dir`",
    }
}

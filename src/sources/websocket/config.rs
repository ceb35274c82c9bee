//! The keys of the source, and what a profile says where they are silent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

use super::deflate_extension::DeflateMode;
use super::encoding::BinaryEncoding;
use super::profile::{self, Profile, ProfileError, VenueLimits};
use super::request_builder::{PingConfig, SubscribeMessages};
use super::tls::TlsConfig;
use crate::base::json::Selector;
use crate::base::units::{ByteSize, ConfigDuration};

/// The longest message that any configuration allows: offsets in a batch are 32 bits wide.
const MAX_MESSAGE_SIZE: ByteSize = ByteSize::from_mib(1024);
/// The shortest interval between pings of the application.
const MIN_PING_INTERVAL: Duration = Duration::from_millis(100);
/// The shortest silence after which a link may be called dead.
const MIN_IDLE_TIMEOUT: ConfigDuration = ConfigDuration::from_millis(100);
/// A connection is not replaced sooner.
const MIN_CONNECTION_AGE: ConfigDuration = ConfigDuration::from_secs(5);
/// The longest rest after a read.
const MAX_READ_PACING: ConfigDuration = ConfigDuration::from_secs(1);

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

/// Messages of a WebSocket feed.
///
/// Connects, subscribes, answers pings, keeps the link alive, and connects again for as long as
/// it runs. What is particular to the server comes from a profile; keys that are written go before
/// it. More topics than a connection may have are shared out over several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["url"]}, {"required": ["profile"]}]))]
#[expect(clippy::option_option, reason = "left out, null, or a value")]
struct RawWebsocketConfig {
    /// Endpoint: `ws://…` or `wss://…`. By default that of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(wss?://|\$\{)"))]
    url: Option<String>,
    /// The profile of the server, see `streamer profiles`. By default that of the URL's host, or
    /// `generic`.
    #[serde(default)]
    profile: Option<String>,
    /// A directory with profiles of your own, a file `NAME.json` each; they go before built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile_dir: Option<PathBuf>,
    /// What to subscribe to. Without any, nothing is subscribed to.
    #[serde(default)]
    topics: Vec<String>,
    /// Where a message says what its topic is, so that sinks can share messages out by topic; null
    /// for nowhere. What has none there is an answer or a heartbeat. By default as in the profile.
    #[serde(
        default,
        deserialize_with = "deserialize_nullable",
        skip_serializing_if = "Option::is_none"
    )]
    topic_pointer: Option<Option<Selector>>,
    /// What is sent after every connect. By default as in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subscribe: Option<SubscribeMessages>,
    /// A message that is sent at an interval, as many servers want it; null for none. By default as in
    /// the profile.
    #[serde(
        default,
        deserialize_with = "deserialize_nullable",
        skip_serializing_if = "Option::is_none"
    )]
    ping: Option<Option<PingConfig>>,
    /// Headers of the handshake. Secrets go in as `"${NAME}"`, from the environment.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The longest that a connect may take, from the name look-up to the subscription.
    #[serde(default = "RawWebsocketConfig::default_connect_timeout")]
    connect_timeout: ConfigDuration,
    /// Without any frame for this long the link is dead. After half of it a WebSocket ping is
    /// sent, so that a quiet link is not cut. 0 for never.
    #[serde(default = "RawWebsocketConfig::default_idle_timeout")]
    idle_timeout: ConfigDuration,
    /// The longest message. A longer one ends the connection. At most 1GiB.
    #[serde(default = "RawWebsocketConfig::default_max_message_size")]
    max_message_size: ByteSize,
    /// What happens to the server's answers and pongs.
    #[serde(default)]
    control: ControlMessages,
    /// How binary messages that are not text are made into text. By default as in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary: Option<BinaryEncoding>,
    /// Topics of one request at the most; 0 for any number. By default as in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topics_per_request: Option<usize>,
    /// Topics of one connection at the most: more are shared out over several; 0 for any number. By
    /// default as in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topics_per_connection: Option<usize>,
    /// The least time between two requests of a connection. By default as in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_interval: Option<ConfigDuration>,
    /// The least time between two connects. By default as in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connect_interval: Option<ConfigDuration>,
    /// A connection of this age is replaced without a gap: another is made and subscribed before it is
    /// closed, and what comes over both is written once. 0 for never. By default as in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_connection_age: Option<ConfigDuration>,
    /// Connections that bring the same messages, 1 or 2: with 2 one that drops loses nothing. What comes
    /// over both is written once.
    #[serde(default = "RawWebsocketConfig::default_connections")]
    #[schemars(range(min = 1, max = 2))]
    connections: usize,
    /// Without data for this long (answers and heartbeats are none) all topics are subscribed to again;
    /// after as long once more the connection is given up. 0 for never.
    #[serde(default)]
    silence_timeout: ConfigDuration,
    /// The same for each topic; for feeds in which every topic always moves. 0 for never.
    #[serde(default)]
    topic_silence: ConfigDuration,
    /// The proxy by which to connect: `http://HOST:PORT` (CONNECT) or `socks5://HOST:PORT`, with
    /// `USER:PASSWORD@` in front of the host where it wants that; `none` for none. By default that of
    /// the environment: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    /// Whether the server may compress its messages (permessage-deflate, RFC 7692): less traffic, a
    /// little more work for the processor.
    #[serde(default)]
    deflate: DeflateMode,
    /// Rest after a small read, so that one wake-up serves many messages. Receive times are coarse
    /// by as much. At most 1s; 0 reads at once.
    #[serde(default = "RawWebsocketConfig::default_read_pacing")]
    read_pacing: ConfigDuration,
    /// Certificates for `wss://`.
    #[serde(default)]
    tls: TlsConfig,
}

/// A configuration that can never work.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebsocketKeyError {
    #[error("`{key}` is {value}; it must be {range}")]
    OutOfRange { key: &'static str, value: String, range: String },
    #[error("`tls` is for `wss://`; the URL begins with `ws://`")]
    TlsWithoutWss,
    #[error("`topics[{0}]` is empty")]
    EmptyTopic(usize),
    #[error("`topics[{0}]` is `{1}`, which stands in the list before")]
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

/// A key that is there, though it may be null.
#[expect(clippy::option_option, reason = "left out, null, or a value")]
fn deserialize_nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The configuration with everything filled in that the profile says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "RawWebsocketConfig", into = "RawWebsocketConfig")]
pub struct WebsocketConfig {
    pub(super) url: String,
    pub(super) profile_name: String,
    pub(super) profile_dir: Option<PathBuf>,
    pub(super) profile: Profile,
    pub(super) topics: Vec<String>,
    pub(super) topic_pointer: Option<Selector>,
    pub(super) subscribe: SubscribeMessages,
    pub(super) ping: Option<PingConfig>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) connect_timeout: ConfigDuration,
    pub(super) idle_timeout: ConfigDuration,
    pub(super) max_message_size: ByteSize,
    pub(super) control: ControlMessages,
    pub(super) binary: BinaryEncoding,
    pub(super) limits: VenueLimits,
    pub(super) connections: usize,
    pub(super) silence_timeout: ConfigDuration,
    pub(super) topic_silence: ConfigDuration,
    pub(super) proxy: Option<String>,
    pub(super) deflate: DeflateMode,
    pub(super) read_pacing: ConfigDuration,
    pub(super) tls: TlsConfig,
}

/// The schema is that of what is written.
impl JsonSchema for WebsocketConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WebsocketConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        RawWebsocketConfig::json_schema(generator)
    }
}

/// The host in a URL.
fn url_host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    Some(host.rsplit_once(':').map_or(host, |(host, _)| host))
}

impl TryFrom<RawWebsocketConfig> for WebsocketConfig {
    type Error = WebsocketConfigError;

    fn try_from(written: RawWebsocketConfig) -> Result<Self, WebsocketConfigError> {
        let host = written.url.as_deref().and_then(url_host);
        let (name, dir) = (written.profile.as_deref(), written.profile_dir.as_deref());
        let (profile_name, profile) = profile::find_profile(name, host, dir)?;
        let no_url = || WebsocketKeyError::MissingUrl(profile_name.clone());
        let url = written.url.or_else(|| profile.url.clone()).ok_or_else(no_url)?;
        let of_profile = &profile.limits;
        let limits = VenueLimits {
            topics_per_request: written.topics_per_request.unwrap_or(of_profile.topics_per_request),
            topics_per_connection: written
                .topics_per_connection
                .unwrap_or(of_profile.topics_per_connection),
            topic_bytes_per_connection: of_profile.topic_bytes_per_connection,
            request_interval: written.request_interval.unwrap_or(of_profile.request_interval),
            connect_interval: written.connect_interval.unwrap_or(of_profile.connect_interval),
            max_connection_age: written.max_connection_age.unwrap_or(of_profile.max_connection_age),
        };
        let subscribe =
            written.subscribe.unwrap_or(SubscribeMessages::Template(profile.subscribe.clone()));
        Ok(Self {
            url,
            profile_name,
            profile_dir: written.profile_dir,
            topics: written.topics,
            topic_pointer: written.topic_pointer.unwrap_or(profile.topic_pointer.clone()),
            subscribe,
            ping: written.ping.unwrap_or(profile.ping.clone()),
            headers: written.headers,
            connect_timeout: written.connect_timeout,
            idle_timeout: written.idle_timeout,
            max_message_size: written.max_message_size,
            control: written.control,
            binary: written.binary.unwrap_or(profile.binary),
            limits,
            connections: written.connections,
            silence_timeout: written.silence_timeout,
            topic_silence: written.topic_silence,
            proxy: written.proxy,
            deflate: written.deflate,
            read_pacing: written.read_pacing,
            tls: written.tls,
            profile,
        })
    }
}

impl From<WebsocketConfig> for RawWebsocketConfig {
    fn from(config: WebsocketConfig) -> Self {
        Self {
            url: Some(config.url),
            profile: Some(config.profile_name),
            profile_dir: config.profile_dir,
            topics: config.topics,
            topic_pointer: Some(config.topic_pointer),
            subscribe: Some(config.subscribe),
            ping: Some(config.ping),
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

/// Why what is written cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebsocketConfigError {
    #[error("{key}: {0}", key = profile_error_key(.0))]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Key(#[from] WebsocketKeyError),
}

impl WebsocketConfig {
    /// What no type can say.
    pub(super) fn check(&self) -> Result<(), WebsocketKeyError> {
        let range = |good: bool, key, value: String, range: String| {
            if good { Ok(()) } else { Err(WebsocketKeyError::OutOfRange { key, value, range }) }
        };
        let ping = self.ping.as_ref().map_or(MIN_PING_INTERVAL, |ping| ping.interval.to_duration());
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
        let age = self.limits.max_connection_age;
        range(
            age.is_zero() || age >= MIN_CONNECTION_AGE,
            "max_connection_age",
            age.to_string(),
            format!("at least {MIN_CONNECTION_AGE}, or 0 for never"),
        )?;
        range(
            (1..=2).contains(&self.connections),
            "connections",
            self.connections.to_string(),
            "1 or 2".into(),
        )?;
        for (index, topic) in self.topics.iter().enumerate() {
            if topic.is_empty() {
                return Err(WebsocketKeyError::EmptyTopic(index));
            }
            if self.topics.iter().take(index).any(|before| before == topic) {
                return Err(WebsocketKeyError::DuplicateTopic(index, topic.clone()));
            }
        }
        if !self.tls.is_empty() && self.url.to_ascii_lowercase().starts_with("ws:") {
            return Err(WebsocketKeyError::TlsWithoutWss);
        }
        Ok(())
    }
}

/// The key that a profile that cannot be had is a matter of.
fn profile_error_key(error: &ProfileError) -> &'static str {
    match error {
        ProfileError::Unknown { .. } => "`profile`",
        ProfileError::Invalid(_) | ProfileError::Read { .. } => "`profile_dir`",
    }
}

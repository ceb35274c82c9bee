//! Messages of a WebSocket feed.

mod bootstrap;
mod config;
mod conversation;
mod extension;
pub mod frames;
mod head;
mod inflate;
mod ledger;
mod link;
mod open;
mod paced;
pub(crate) mod profile;
mod proxy;
mod rules;
mod silence;
mod template;
mod tls;
mod turns;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use self::bootstrap::bootstrap;
pub use self::config::{ControlMessages, WebsocketConfig};
use self::conversation::Conversation;
pub use self::conversation::{Ping, Subscribe};
pub use self::extension::Deflate;
use self::frames::{Limits, Unframer};
pub use self::inflate::Encoding;
use self::link::{Link, Liveness};
use self::open::{Opened, Reach, Target};
use self::profile::Bootstrap;
pub use self::profile::Profile;
use self::rules::Rules;
pub use self::tls::TlsConfig;
use self::turns::Turns;
use self::watch::{Manners, Watch};
use crate::batch::Batch;
use crate::json::Selector;
use crate::plugin::{
    BoxError, BuildContext, Cause, Closing, Disconnect, FeedEvent, Source, SourceConfig,
    SourceError, Upkeep,
};
use crate::secrets::Secrets;
use crate::stats::Stats;

/// A connection from which something came within this was alive.
const AT_ONCE: Duration = Duration::from_millis(100);

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
        let mut all = self.build_all(context)?;
        all.pop().ok_or_else(|| "there is no connection to make".into())
    }

    fn build_all(self, context: &BuildContext) -> Result<Vec<Box<dyn Source>>, BoxError> {
        self.check()?;
        let profile = &self.profile;
        let whole = Conversation::new(
            self.topics.clone(),
            &profile.topic,
            profile.item.clone(),
            self.subscribe.clone(),
        )?;
        let welcome = profile.welcome.as_ref().map(Rules::welcome);
        let (rules, welcome) = (Rules::of(&profile.answers)?, welcome.transpose()?);
        let turns = Arc::new(Turns::new(self.limits.connect_interval.duration()));
        let reach = Arc::new(Reach::new(&self, context)?);
        let ping = self.ping.as_ref();
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for (shard, topics) in self.shards().into_iter().enumerate() {
            let manners = Manners {
                conversation: whole.of(topics),
                rules: rules.clone(),
                opening: profile.opening.clone(),
                welcome: welcome.clone(),
                topics_per_request: self.limits.topics_per_request,
                request_interval: self.limits.request_interval.duration(),
                topic_pointer: self.topic_pointer.clone(),
                skip: self.control == ControlMessages::Skip,
                silence_timeout: self.silence_timeout.non_zero(),
                topic_silence: self.topic_silence.non_zero(),
                secrets: context.secrets().clone(),
                shard,
            };
            sources.push(Box::new(Websocket {
                target: Target::new(&self.url, &reach)?,
                bootstrap: profile.bootstrap.clone(),
                reach: Arc::clone(&reach),
                manners: Arc::new(manners),
                liveness: Liveness {
                    ping: ping.map(|p| (p.message.clone(), p.interval.duration())),
                    idle: self.idle_timeout.non_zero(),
                },
                limits: Limits { message: self.max_message_size.bytes(), batch: context.max_batch },
                connect_timeout: self.connect_timeout.duration(),
                encoding: self.binary,
                turns: Arc::clone(&turns),
                stats: Arc::clone(&context.stats),
                secrets: context.secrets().clone(),
                upkeep: Upkeep {
                    connections: self.connections,
                    max_age: self.limits.max_connection_age.non_zero(),
                },
                link: None,
                events: Vec::new(),
            }));
        }
        Ok(sources)
    }
}

impl WebsocketConfig {
    /// The topics of each connection.
    fn shards(&self) -> Vec<Vec<String>> {
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

struct Websocket {
    target: Target,
    bootstrap: Option<Bootstrap>,
    reach: Arc<Reach>,
    manners: Arc<Manners>,
    liveness: Liveness,
    limits: Limits,
    connect_timeout: Duration,
    encoding: Encoding,
    /// When the next connect may be, shared by all connections.
    turns: Arc<Turns>,
    stats: Arc<Stats>,
    secrets: Secrets,
    upkeep: Upkeep,
    link: Option<Link>,
    /// What a link that is gone had to tell.
    events: Vec<FeedEvent>,
}

impl Websocket {
    async fn open(&mut self) -> Result<Link, Disconnect> {
        self.turns.wait().await;
        let deadline = Instant::now() + self.connect_timeout;
        if let Some(bootstrap_at) = &self.bootstrap {
            let url = bootstrap(bootstrap_at, &self.reach, deadline).await?;
            self.target.turn_to(&url)?;
        }
        let Opened { stream, early, deflate } = self.target.open(deadline).await?;
        let mut frames = Unframer::new(self.limits, self.encoding);
        if let Some(agreed) = deflate {
            frames = frames.with_deflate(agreed.keeps_context);
        }
        let watch = Watch::new(&self.manners, Arc::clone(&self.stats));
        let (liveness, stats) = (self.liveness.clone(), Arc::clone(&self.stats));
        let mut link = Link::new(stream, early, frames, watch, liveness, stats);
        let Ok(sent) = timeout_at(deadline, link.begin()).await else {
            let detail = "the server does not take the subscription";
            return Err(Disconnect::new(Cause::ConnectTimeout, detail));
        };
        sent?;
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

    fn topics(&self) -> &[String] {
        self.manners.conversation.topics()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.link = None;
        let link = self.open().await.map_err(|lost| self.masked(lost))?;
        self.link = Some(link);
        debug!(topics = self.manners.conversation.topics().len(), "subscription sent");
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let Some(link) = &mut self.link else {
            return Err(Disconnect::new(Cause::Other, "not connected").into());
        };
        let read = link.read(batch).await;
        let Err(mut lost) = read else { return Ok(()) };
        let silent_for = link.silent_for();
        if lost.cause == Cause::Io && silent_for > AT_ONCE {
            // Whatever was on its way since is gone, too.
            lost.silent_for = lost.silent_for.max(Some(silent_for));
        }
        self.events.append(&mut link.take_events());
        self.link = None;
        Err(self.masked(lost).into())
    }

    fn upkeep(&self) -> Upkeep {
        self.upkeep
    }

    fn again(&self) -> Option<Box<dyn Source>> {
        Some(Box::new(Self {
            target: self.target.clone(),
            bootstrap: self.bootstrap.clone(),
            reach: Arc::clone(&self.reach),
            manners: Arc::clone(&self.manners),
            liveness: self.liveness.clone(),
            limits: self.limits,
            connect_timeout: self.connect_timeout,
            encoding: self.encoding,
            turns: Arc::clone(&self.turns),
            stats: Arc::clone(&self.stats),
            secrets: self.secrets.clone(),
            upkeep: self.upkeep,
            link: None,
            events: Vec::new(),
        }))
    }

    fn is_subscribed(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_subscribed)
    }

    fn subscribed(&mut self) -> Vec<String> {
        self.link.as_mut().map(Link::take_coming).unwrap_or_default()
    }

    fn is_settled(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_settled)
    }

    fn is_ending(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_ending)
    }

    fn silent_for(&self) -> Option<Duration> {
        self.link.as_ref().map(Link::silent_for)
    }

    fn events(&mut self) -> Vec<FeedEvent> {
        let mut events = std::mem::take(&mut self.events);
        events.append(&mut self.link.as_mut().map(Link::take_events).unwrap_or_default());
        events
    }

    fn close(&mut self) -> Closing {
        self.link.as_mut().map_or(Closing::Done, Link::close)
    }
}

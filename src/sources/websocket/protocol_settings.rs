//! The settings of the conversation with a server.

use std::time::Duration;

use super::answer_rule::AnswerRule;
use super::config::ControlMessages;
use super::request_builder::RequestBuilder;
use super::rules::Rules;
use crate::base::json::Selector;
use crate::base::secrets::Secrets;
use crate::base::shard_index::ShardIndex;

/// The settings of the conversation, which all connections for the same topics share.
#[derive(Debug, Clone)]
pub(super) struct ProtocolSettings {
    pub(super) requests: RequestBuilder,
    pub(super) rules: Rules,
    /// Messages that are sent before any request.
    pub(super) opening_messages: Vec<serde_json::Value>,
    /// Matches the message that is awaited before the first request.
    pub(super) welcome: Option<AnswerRule>,
    /// Maximum number of topics in a request; 0 for no limit.
    pub(super) topics_per_request: usize,
    /// Minimum time between two requests.
    pub(super) request_interval: Duration,
    pub(super) topic_pointer: Option<Selector>,
    pub(super) control: ControlMessages,
    pub(super) silence_timeout: Option<Duration>,
    pub(super) topic_silence: Option<Duration>,
    /// Masked in what the server sends, which may repeat what it was sent.
    pub(super) secrets: Secrets,
    /// Index of the connection among those that share the topics.
    pub(super) shard: ShardIndex,
}

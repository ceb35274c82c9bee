//! The contract between the engine and its plugins: sources, stages and sinks.
//!
//! A plugin is two types. The *config* is what the user writes in the file: a struct that
//! deserializes, has a JSON Schema and a [`TYPE`](StageConfig::TYPE) name. Its `build` turns it
//! into the *running* type, which keeps only what it needs. Registering the config in a
//! [`Registry`](crate::Registry) is all it takes: loading, `streamer check`, suggestions for typos
//! and the schema follow.

pub mod batch;
mod box_error;
mod build_context;
mod common_keys;
mod config_change;
mod connection_event;
mod connection_policy;
mod destination_gone;
mod disconnect;
mod down_cause;
mod on_error;
mod plugin_kind;
mod reconnect_policy;
mod rejected_message;
mod run_info;
mod sink;
mod source;
mod source_error;
mod source_event;
mod source_scope;
mod stage;
mod subscription;
mod tick;

pub use self::box_error::BoxError;
pub use self::build_context::BuildContext;
pub(crate) use self::common_keys::CommonKeys;
pub use self::config_change::ConfigChange;
pub use self::connection_event::ConnectionEvent;
pub use self::connection_policy::ConnectionPolicy;
pub use self::destination_gone::DestinationGone;
pub(crate) use self::disconnect::DETECTION_TOLERANCE;
pub use self::disconnect::Disconnect;
pub use self::down_cause::DownCause;
pub(crate) use self::on_error::OnError;
pub(crate) use self::plugin_kind::PluginKind;
pub use self::reconnect_policy::ReconnectPolicy;
pub use self::rejected_message::RejectedMessage;
pub use self::run_info::RunInfo;
pub use self::sink::{Sink, SinkConfig};
pub use self::source::{CloseStatus, Source, SourceConfig, TopicsOutcome};
pub use self::source_error::SourceError;
pub use self::source_event::SourceEvent;
pub use self::source_scope::SourceScope;
pub use self::stage::{DrainStatus, Stage, StageConfig};
pub use self::subscription::Subscription;
pub use self::tick::Tick;
#[doc(inline)]
pub use crate::archive::journal::DropCause;
pub use crate::base::connection_id::ConnectionId;
pub use crate::base::shard_index::ShardIndex;

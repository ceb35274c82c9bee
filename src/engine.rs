//! The engine: runs pipelines, each from its sources to its sinks.
//!
//! Tasks on the network thread keep the sources connected ([`connection_slot`]), one plain thread
//! runs the stages and sinks ([`pump`]), and exactly one bounded queue connects them ([`queue`]).
//!
//! Stopping is a chain: the token is canceled, the connections are closed and drained, the queue is
//! closed, and the thread empties the queue and closes the sinks.

mod abandoned_sink;
mod batch_number;
mod connection_group;
mod connection_requests;
mod connection_slot;
mod connection_task;
mod drop_log;
mod ended_connection;
mod fixed_parts;
mod flush_scope;
mod inline_sinks;
mod line_arbiter;
mod line_index;
mod live_connection;
mod milestone;
mod named_plugin;
mod optional_sink;
mod overflow;
mod overlap;
mod pipeline;
mod pipeline_control;
mod pipeline_error;
mod plugin_change;
mod pump;
mod queue;
mod read_frontiers;
mod retry_policy;
mod running_connection;
mod shared_labeler;
mod sink_call;
mod sink_gone;
mod sink_output;
mod sinks;
mod slot_deadlines;
mod slot_notice;
mod source_state;
mod stage_backlog;
mod stage_chain;
mod stall_detector;
mod ticker;

pub(crate) use self::fixed_parts::FixedParts;
pub(crate) use self::named_plugin::NamedPlugin;
pub(crate) use self::overflow::Overflow;
pub(crate) use self::pipeline::Pipeline;
pub(crate) use self::pipeline_control::{ConfigDigests, PipelineControl};
pub(crate) use self::pipeline_error::PipelineError;
pub(crate) use self::plugin_change::{NewSink, PluginChange, SinkChange};
pub(crate) use self::slot_notice::SourceChange;

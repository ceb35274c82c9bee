//! The counters of a running recorder, and the snapshot of them that `streamer status` prints.
//!
//! Each pipeline has [`PipelineStats`], and each stage and sink in it [`PluginStats`].
//! [`ProcessStats`] holds those of all pipelines and the counters of the process itself.

mod activity;
mod alert;
mod alert_kind;
mod archive_stats;
mod config_status;
mod connection_status;
mod counter;
mod earliest_time;
mod health;
mod health_check;
mod last_disconnect;
mod lock;
mod outage;
mod pipeline_stats;
mod plugin_stats;
mod process_stats;
mod queue_usage;
mod short_time;
mod silence;
mod sink_stall;
mod snapshot;
mod snapshot_detail;
mod stage_loss;
mod status_line;
mod subscription_reply;
mod topic_activity;
mod topic_report;
mod topic_status;
mod tracker_id;
mod undecodable_log;
mod usual_interval;

pub(crate) use self::activity::Activity;
pub use self::activity::LastMessages;
pub(crate) use self::alert::{Alert, AlertSubject};
pub(crate) use self::alert_kind::AlertKind;
pub use self::archive_stats::ArchiveStats;
pub use self::config_status::ConfigStatus;
pub use self::connection_status::ConnectionStatus;
pub use self::counter::Counter;
pub(crate) use self::earliest_time::EarliestTime;
pub use self::health::Health;
pub(crate) use self::health_check::{CheckResult, HealthCheck};
pub use self::last_disconnect::LastDisconnect;
pub use self::outage::Outage;
pub use self::pipeline_stats::PipelineStats;
pub use self::plugin_stats::{PluginSnapshot, PluginStats};
pub use self::process_stats::ProcessStats;
pub use self::queue_usage::QueueUsage;
pub use self::sink_stall::SinkStall;
pub use self::snapshot::{PipelineSnapshot, Snapshot};
pub(crate) use self::snapshot_detail::SnapshotDetail;
pub(crate) use self::stage_loss::StageLoss;
pub(crate) use self::subscription_reply::SubscriptionReply;
pub(crate) use self::topic_activity::TopicActivity;
pub use self::topic_report::TopicReport;
pub use self::topic_status::TopicStatus;
pub(crate) use self::tracker_id::TrackerId;

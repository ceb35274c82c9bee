//! The alerts of a recorder: what somebody should know who does not look.

use super::alert_kind::AlertKind;
use super::snapshot::{PipelineSnapshot, Snapshot};

/// Something that is wrong at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alert {
    pub(crate) subject: AlertSubject,
    /// The cause, as far as it is known.
    pub(crate) detail: String,
}

/// What an alert is about. It stays the same while the alert lasts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AlertSubject {
    pub(crate) kind: AlertKind,
    /// Name of the pipeline; `None` for what concerns the process.
    pub(crate) pipeline: Option<String>,
    pub(crate) topic: Option<String>,
}

impl Alert {
    /// Returns what is wrong in the snapshot.
    pub(crate) fn all_in(snapshot: &Snapshot) -> Vec<Self> {
        let mut alerts = Vec::new();
        for (name, pipeline) in &snapshot.pipelines {
            add_pipeline(&mut alerts, name, pipeline);
        }
        if let Some(archive) = &snapshot.archive
            && archive.is_failing
        {
            alerts.push(Self {
                subject: AlertSubject { kind: AlertKind::SealFailed, pipeline: None, topic: None },
                detail: archive.last_failure.clone().unwrap_or_default(),
            });
        }
        alerts
    }
}

fn add_pipeline(alerts: &mut Vec<Alert>, name: &str, pipeline: &PipelineSnapshot) {
    let mut add = |kind, topic: Option<&String>, detail: String| {
        let subject = AlertSubject { kind, pipeline: Some(name.to_owned()), topic: topic.cloned() };
        alerts.push(Alert { subject, detail });
    };
    if !pipeline.connected {
        let last_error = pipeline.last_error.as_ref();
        let detail = last_error.map(|error| format!("{}: {}", error.cause, error.detail));
        add(AlertKind::Down, None, detail.unwrap_or_default());
    }
    if let Some(stall) = &pipeline.stall {
        add(AlertKind::Stalled, None, format!("{}: {}", stall.sink, stall.error));
    }
    if let Some(seconds) = pipeline.silent_seconds {
        add(AlertKind::Silent, None, format!("no data for {seconds} s"));
    } else {
        for topic in &pipeline.topics.silences {
            add(AlertKind::Silent, Some(topic), String::new());
        }
    }
    for (topic, words) in &pipeline.topics.refusals {
        add(AlertKind::Refused, Some(topic), words.clone());
    }
    // Without a connection nothing can be confirmed.
    for topic in pipeline.topics.unconfirmed.iter().filter(|_| pipeline.connected) {
        add(AlertKind::Unconfirmed, Some(topic), String::new());
    }
}

//! The answer to the question whether a recorder is well.

use std::time::Duration;

use super::health::Health;
use super::short_time::ShortTime;
use super::snapshot::{PipelineSnapshot, Snapshot};

/// The result of a check, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckResult {
    /// Everything is recorded.
    Fine,
    /// Something is not recorded, or may not be.
    Degraded,
    /// A pipeline records nothing.
    Down,
}

/// A result with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    pub(crate) result: CheckResult,
    pub(crate) reasons: Vec<String>,
}

impl HealthCheck {
    /// Checks a recorder. With `max_age` each pipeline must have had data within that time.
    pub(crate) fn of(snapshot: &Snapshot, max_age: Option<Duration>) -> Self {
        let mut check = Self { result: CheckResult::Fine, reasons: Vec::new() };
        let is_one = snapshot.pipelines.len() == 1;
        for (name, pipeline) in &snapshot.pipelines {
            let mut reasons = pipeline.reasons();
            let mut result =
                if reasons.is_empty() { CheckResult::Fine } else { result_of(pipeline) };
            let age = pipeline.activity.last_data_age_seconds;
            #[expect(clippy::cast_precision_loss, reason = "a comparison of seconds")]
            let age = age.unwrap_or(snapshot.uptime_seconds as f64);
            if max_age.is_some_and(|max_age| age > max_age.as_secs_f64()) {
                result = CheckResult::Down;
                if pipeline.silent_seconds.is_none() {
                    let age = ShortTime(Duration::from_secs_f64(age).as_secs());
                    reasons.push(format!("no data for {age}"));
                }
            }
            check.result = check.result.max(result);
            let prefix = if is_one { String::new() } else { format!("{name}: ") };
            check.reasons.extend(reasons.into_iter().map(|reason| prefix.clone() + &reason));
        }
        if snapshot.pipelines.is_empty() {
            check.result = CheckResult::Down;
            check.reasons.push("no pipeline runs".to_owned());
        }
        if let Some(archive) = snapshot.archive.as_ref().filter(|archive| archive.is_failing) {
            check.result = check.result.max(CheckResult::Degraded);
            let failure = archive.last_failure.as_deref().unwrap_or_default();
            check.reasons.push(format!("archive job FAILED: {failure}"));
        }
        check
    }
}

fn result_of(pipeline: &PipelineSnapshot) -> CheckResult {
    let is_down = match pipeline.state {
        Health::Down => pipeline.connections == 0,
        Health::Stalled => true,
        _ => false,
    };
    if is_down { CheckResult::Down } else { CheckResult::Degraded }
}

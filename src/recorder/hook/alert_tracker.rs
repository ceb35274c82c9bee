//! The alerts that last.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::alert_line::{AlertLine, AlertState};
use crate::base::time::UnixNanos;
use crate::metrics::{Alert, AlertSubject};

/// Time for which an alert must be gone until it is over: one that comes and goes is one.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Follows alerts from look to look, and tells those that last and those that are over.
#[derive(Debug)]
pub(super) struct AlertTracker {
    /// Time that an alert must last.
    after: Duration,
    alerts: BTreeMap<AlertSubject, TrackedAlert>,
}

#[derive(Debug)]
struct TrackedAlert {
    since: UnixNanos,
    first_seen: Instant,
    last_seen: Instant,
    detail: String,
    is_fired: bool,
}

impl AlertTracker {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, alerts: BTreeMap::new() }
    }

    /// Takes what is wrong now, and returns the lines for the program.
    pub(super) fn update(
        &mut self,
        now: Instant,
        time: UnixNanos,
        current: Vec<Alert>,
    ) -> Vec<AlertLine> {
        for Alert { subject, detail } in current {
            let new = || TrackedAlert {
                since: time,
                first_seen: now,
                last_seen: now,
                detail: String::new(),
                is_fired: false,
            };
            let alert = self.alerts.entry(subject).or_insert_with(new);
            alert.last_seen = now;
            alert.detail = detail;
        }
        let mut lines = Vec::new();
        let after = self.after;
        self.alerts.retain(|subject, alert| {
            let lasted = alert.last_seen - alert.first_seen;
            let is_over = now - alert.last_seen >= SETTLE_TIME;
            let is_due = !alert.is_fired && alert.last_seen == now && lasted >= after;
            let state = match (is_due, is_over && alert.is_fired) {
                (true, _) => Some(AlertState::Firing),
                (_, true) => Some(AlertState::Resolved),
                _ => None,
            };
            alert.is_fired |= is_due;
            lines.extend(state.map(|state| AlertLine {
                time,
                subject: subject.clone(),
                state,
                since: alert.since,
                seconds: lasted.as_secs(),
                detail: alert.detail.clone(),
            }));
            !is_over
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::AlertKind;

    fn down() -> Alert {
        let pipeline = Some("main".to_owned());
        let subject = AlertSubject { kind: AlertKind::Down, pipeline, topic: None };
        Alert { subject, detail: "refused".to_owned() }
    }

    /// Returns the second and the kind of each line, for an alert that is there in these seconds.
    fn told(is_there: impl Fn(u64) -> bool, seconds: u64) -> Vec<(u64, AlertState, u64)> {
        let mut tracker = AlertTracker::new(Duration::from_secs(10));
        let start = Instant::now();
        let tell = |second: u64| {
            let current = if is_there(second) { vec![down()] } else { Vec::new() };
            let time = UnixNanos::from_seconds(second);
            let lines = tracker.update(start + Duration::from_secs(second), time, current);
            lines.into_iter().map(|line| (second, line.state, line.seconds)).collect::<Vec<_>>()
        };
        (0..seconds).flat_map(tell).collect()
    }

    #[test]
    fn an_alert_that_lasts_is_told_once_and_so_is_its_end() {
        let told = told(|second| (3..40).contains(&second), 100);
        assert_eq!(told, [(13, AlertState::Firing, 10), (44, AlertState::Resolved, 36)]);
    }

    #[test]
    fn a_short_alert_is_not_told() {
        assert_eq!(told(|second| (3..12).contains(&second), 100), []);
    }

    #[test]
    fn an_alert_that_comes_and_goes_is_one() {
        let told = told(|second| second < 50 && second % 4 == 0, 100);
        assert_eq!(told, [(12, AlertState::Firing, 12), (53, AlertState::Resolved, 48)]);
    }
}

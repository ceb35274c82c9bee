//! The usual interval between messages, as the recorder learns it.

use std::time::Duration;

use tokio::time::Instant;

/// Number of usual intervals without data that are a silence.
const SILENT_INTERVALS: f64 = 100.0;
/// Shortest silence.
const MIN_SILENCE: Duration = Duration::from_secs(60);
/// Time over which an interval loses its weight.
const MEMORY: Duration = Duration::from_secs(3600);
/// Number of arrivals before which nothing is usual.
const MIN_ARRIVALS: f64 = 20.0;

/// The usual interval between the messages of a topic or of a pipeline: the mean of the last hour in
/// which messages came.
#[derive(Debug, Default)]
pub(super) struct UsualInterval {
    /// Time and number of the arrivals, each with its weight.
    seconds: f64,
    arrivals: f64,
    last: Option<Instant>,
}

impl UsualInterval {
    /// Records arrivals, of which the last was at `last`.
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub(super) fn record(&mut self, last: Instant, arrivals: u64) {
        if arrivals == 0 {
            return;
        }
        if let Some(before) = self.last.replace(last) {
            let seconds = last.saturating_duration_since(before).as_secs_f64();
            let weight = (-seconds / MEMORY.as_secs_f64()).exp();
            self.seconds = self.seconds * weight + seconds;
            self.arrivals = self.arrivals * weight + arrivals as f64;
        }
    }

    /// Forgets the last arrival: the time until the next one was not listened to.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
    }

    /// Returns the usual interval, once it is known.
    pub(super) fn usual(&self) -> Option<Duration> {
        (self.arrivals >= MIN_ARRIVALS)
            .then(|| Duration::from_secs_f64(self.seconds / self.arrivals))
    }

    /// Returns the time without data from which on it is silent, once that is known.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.usual().map(|usual| usual.mul_f64(SILENT_INTERVALS).max(MIN_SILENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard_every(interval: Duration, times: u32) -> UsualInterval {
        let start = Instant::now();
        let mut usual = UsualInterval::default();
        for number in 0..times {
            usual.record(start + interval * number, 1);
        }
        usual
    }

    #[test]
    fn a_hundred_usual_intervals_are_a_silence_and_no_less_than_a_minute() {
        let silence = |millis| heard_every(Duration::from_millis(millis), 1000).silence().unwrap();
        assert_eq!(silence(400), Duration::from_secs(60));
        assert!((silence(2000).as_secs_f64() - 200.0).abs() < 0.01, "{:?}", silence(2000));
    }

    #[test]
    fn nothing_is_usual_after_a_few_messages() {
        assert_eq!(heard_every(Duration::from_secs(1), 20).usual(), None);
        assert!(heard_every(Duration::from_secs(1), 40).usual().is_some());
    }

    #[test]
    fn what_was_usual_hours_ago_is_forgotten() {
        let mut usual = UsualInterval::default();
        let mut at = Instant::now();
        for (millis, times) in [(100, 100_000), (60_000, 600)] {
            for _ in 0..times {
                at += Duration::from_millis(millis);
                usual.record(at, 1);
            }
        }
        let usual = usual.usual().unwrap();
        assert!(usual > Duration::from_secs(50), "{usual:?}");
    }

    #[test]
    fn an_outage_is_not_an_interval() {
        let mut usual = heard_every(Duration::from_secs(1), 40);
        usual.interrupt();
        usual.record(Instant::now() + Duration::from_secs(100_000), 1);
        assert_eq!(usual.usual(), Some(Duration::from_secs(1)));
    }
}

//! A day on a bad network, in paused time.

use std::sync::Mutex;

use tokio::time::Instant;

use super::*;
use crate::archive::coverage::Coverage;
use crate::archive::directory::Directory;
use crate::archive::gaps::{Certainty, GapKind};
use crate::base::units::ConfigDuration;
use crate::plugin::{BuildContext, SinkConfig};
use crate::sinks::jsonl::JsonlConfig;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A quarter of an hour before midnight, so that the day crosses hours and a date.
const BEGIN: u64 = 1_700_000_000 / 86_400 * 86_400 - 900;

/// A wall clock that follows the runtime's time, which is paused and jumps from timer to timer.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_seconds(BEGIN).saturating_add(self.0.elapsed())
    }
}

/// The periods in which a connection was established.
type ConnectedSpans = Arc<Mutex<Vec<(UnixNanos, UnixNanos)>>>;

/// A source that delivers a message each second, is cut off at random, and often cannot connect.
struct FlappingSource {
    clock: Arc<PausedClock>,
    spans: ConnectedSpans,
    cut_off: Option<Instant>,
    rng: fastrand::Rng,
    messages: u64,
}

#[async_trait]
impl Source for FlappingSource {
    fn endpoint(&self) -> String {
        "a bad network".to_owned()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(20..500))).await;
        if self.rng.u8(0..4) == 0 {
            return Err(Disconnect::new(DownCause::Connect, "refused").into());
        }
        let lasts = Duration::from_millis(self.rng.u64(0..600_000));
        self.cut_off = Some(Instant::now() + lasts);
        let now = self.clock.now();
        self.spans.lock().unwrap().push((now, now));
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        let next = tokio::time::sleep(Duration::from_secs(1));
        let cut_off = tokio::time::sleep_until(self.cut_off.unwrap());
        let lost = tokio::select! {
            () = next => false,
            () = cut_off => true,
        };
        self.spans.lock().unwrap().last_mut().unwrap().1 = self.clock.now();
        if lost {
            return Err(Disconnect::new(DownCause::Eof, "cut off").into());
        }
        self.messages += 1;
        batch.push(self.messages.to_string().as_bytes());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn gaps_of_a_flapping_day_match_the_outages_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let harness = PipelineHarness::new();
    let clock = Arc::new(PausedClock(Instant::now()));
    let spans = ConnectedSpans::default();
    let context = BuildContext::new(vec!["t".to_owned()], Arc::clone(&harness.stats), 100);
    let config = JsonlConfig {
        output_dir: dir.path().to_owned(),
        sync_interval: ConfigDuration::default(),
        ..JsonlConfig::default()
    };
    let mut sink = config.build(&context).unwrap();
    sink.open().unwrap();
    let source = FlappingSource {
        clock: Arc::clone(&clock),
        spans: Arc::clone(&spans),
        cut_off: None,
        rng: fastrand::Rng::with_seed(24),
        messages: 0,
    };
    let pipeline = Pipeline {
        sources: vec![Box::new(source)],
        shutdown_timeout: Duration::from_secs(30),
        // Room for the whole day: while a slot waits for the thread, paused time would run on.
        max_messages: 1_000_000,
        max_bytes: 1 << 30,
        sinks: vec![required_sink(sink)],
        ..PipelineHarness::pipeline(NumberSource::until(0), harness.sink(), Overflow::Block)
    };
    let stop = harness.stop.clone();
    let day = async {
        tokio::time::sleep(DAY).await;
        // The pipeline thread lives in real time.
        tokio::time::resume();
        stop.cancel();
    };
    let stats = Arc::clone(&harness.stats);
    let token = harness.stop.clone();
    let (ended, ()) = tokio::join!(
        pipeline.run(stats, Arc::clone(&clock) as _, tokio::time::Instant::now(), token),
        day
    );
    ended.unwrap();

    let hours = Directory::read(dir.path()).unwrap().hours;
    assert_eq!(hours.len(), 25, "every hour has its journal");
    let coverage = Coverage::read(dir.path(), &hours, clock.now(), 1);
    let gaps = coverage.gaps.into_values().next().unwrap();
    let spans = spans.lock().unwrap();
    assert!(spans.len() > 100, "{} connections", spans.len());
    // Each gap lies exactly between the end of a connection and the start of the next.
    let mut down: Vec<_> = spans.windows(2).map(|pair| (pair[0].1, Some(pair[1].0))).collect();
    let reported: Vec<_> = gaps
        .iter()
        .filter(|gap| gap.kind == GapKind::Down && gap.from >= spans[0].0)
        .map(|gap| (gap.from, gap.to))
        .collect();
    if reported.len() > down.len() {
        // The day ended during the last gap.
        down.push((spans.last().unwrap().1, reported.last().unwrap().1));
    }
    assert_eq!(reported, down);
    assert!(gaps.iter().all(|gap| gap.certainty == Certainty::Exact), "{gaps:?}");
    // No server is hammered: at least half a second lies between two attempts.
    let attempts: u64 = harness.stats.snapshot().disconnects.values().sum();
    assert!(attempts < DAY.as_secs() / 60, "{attempts} attempts");
    let recorded: u64 = hours
        .iter()
        .filter_map(|hour| {
            std::fs::read_to_string(
                hour.path(dir.path(), crate::archive::file_name::FileKind::Lines),
            )
            .ok()
        })
        .map(|text| text.lines().count() as u64)
        .sum();
    assert_eq!(recorded, harness.stats.written.get());
}

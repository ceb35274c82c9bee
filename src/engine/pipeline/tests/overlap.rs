//! Connections that overlap, in the time of the test.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use super::*;
use crate::plugin::ConnectionPolicy;

/// A server that sends the number of the second, to each connection with a delay of its own, and cuts
/// connections off at an age.
struct SecondsSource {
    begun: Instant,
    policy: ConnectionPolicy,
    cut_off: Duration,
    /// Of these attempts to connect every third fails.
    attempts: Arc<AtomicU32>,
    flaky: bool,
    /// The next second, its delay, and when the connection was made.
    next: u64,
    delay: Duration,
    connected_at: Instant,
    closed: bool,
}

impl SecondsSource {
    fn new(upkeep: ConnectionPolicy, cut_off: u64) -> Self {
        let begun = Instant::now();
        let (cut_off, delay) = (Duration::from_secs(cut_off), Duration::ZERO);
        let attempts = Arc::default();
        let flaky = false;
        Self {
            begun,
            policy: upkeep,
            cut_off,
            attempts,
            flaky,
            next: 0,
            delay,
            connected_at: begun,
            closed: false,
        }
    }
}

#[async_trait]
impl Source for SecondsSource {
    fn endpoint(&self) -> String {
        "clockwork".to_owned()
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        if self.flaky && attempt.is_multiple_of(3) {
            return Err(Disconnect::new(DownCause::Connect, "not now").into());
        }
        self.connected_at = Instant::now();
        self.next = self.begun.elapsed().as_secs() + 1;
        self.delay = Duration::from_millis(u64::from(attempt) * 370 % 900);
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        if self.closed {
            return Err(Disconnect::new(DownCause::Closed, "closed").into());
        }
        let due = self.begun + Duration::from_secs(self.next) + self.delay;
        if due > self.connected_at + self.cut_off {
            tokio::time::sleep_until(self.connected_at + self.cut_off).await;
            return Err(Disconnect::new(DownCause::Eof, "cut off").into());
        }
        tokio::time::sleep_until(due).await;
        batch.push(self.next.to_string().as_bytes());
        self.next += 1;
        Ok(())
    }

    fn connection_policy(&self) -> ConnectionPolicy {
        self.policy
    }

    fn duplicate(&self) -> Option<Box<dyn Source>> {
        let attempts = Arc::clone(&self.attempts);
        let (begun, flaky) = (self.begun, self.flaky);
        let fresh = Self::new(self.policy, self.cut_off.as_secs());
        Some(Box::new(Self { begun, attempts, flaky, ..fresh }))
    }

    fn close(&mut self) -> crate::plugin::CloseStatus {
        self.closed = true;
        crate::plugin::CloseStatus::Draining
    }
}

/// Records a while; gives the numbers that are missing and those that came twice, and the counters.
async fn record_for(source: SecondsSource, seconds: u64) -> (Vec<u64>, usize, Arc<PipelineStats>) {
    let bench = PipelineHarness::new();
    let pipeline = Pipeline {
        sources: vec![Box::new(source)],
        max_messages: 1_000_000,
        ..PipelineHarness::pipeline(NumberSource::until(0), bench.sink(), Overflow::Block)
    };
    let stop = bench.stop.clone();
    let end = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        stop.cancel();
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let (stats, token) = (Arc::clone(&bench.stats), bench.stop.clone());
    let (ended, ()) = tokio::join!(pipeline.run(stats, clock, token), end);
    ended.unwrap();
    let text = String::from_utf8(bench.lines.lock().unwrap().clone()).unwrap();
    let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    let seen: BTreeSet<u64> = numbers.iter().copied().collect();
    let missing = (1..seconds - 2).filter(|number| !seen.contains(number)).collect();
    (missing, numbers.len() - seen.len(), bench.stats)
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_the_server_cuts_it_off() {
    let max_age = Some(Duration::from_secs(50));
    let source = SecondsSource::new(ConnectionPolicy { connections: 1, max_age }, 60);
    let (missing, twice, stats) = record_for(source, 3_600).await;
    assert_eq!((missing, twice), (vec![], 0));
    let snapshot = stats.snapshot();
    assert!(snapshot.disconnects.is_empty(), "{:?}", snapshot.disconnects);
    assert!((65..75).contains(&snapshot.replaced), "{} replaced", snapshot.replaced);
}

#[tokio::test(start_paused = true)]
async fn a_failed_replacement_is_retried_while_the_old_connection_stays() {
    let max_age = Some(Duration::from_secs(50));
    let source = SecondsSource::new(ConnectionPolicy { connections: 1, max_age }, 120);
    let (missing, twice, stats) = record_for(SecondsSource { flaky: true, ..source }, 3_600).await;
    assert_eq!((missing, twice), (vec![], 0));
    assert!(stats.snapshot().disconnects["connect"] > 20);
}

#[tokio::test(start_paused = true)]
async fn without_replacement_messages_are_missing() {
    let source = SecondsSource::new(ConnectionPolicy::default(), 60);
    let (missing, twice, _) = record_for(source, 600).await;
    assert!(!missing.is_empty());
    assert_eq!(twice, 0);
}

#[tokio::test(start_paused = true)]
async fn two_connections_cut_off_at_different_times_lose_nothing() {
    let max_age = Some(Duration::from_secs(45));
    let source = SecondsSource::new(ConnectionPolicy { connections: 2, max_age }, 60);
    let (missing, twice, stats) = record_for(source, 600).await;
    assert_eq!((missing, twice), (vec![], 0));
    let snapshot = stats.snapshot();
    assert_eq!(snapshot.connections_wanted, 2);
    assert!(snapshot.duplicates > 500, "{} duplicates", snapshot.duplicates);
}

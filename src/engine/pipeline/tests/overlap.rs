//! Connections that overlap, in paused time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use super::*;
use crate::plugin::ConnectionPolicy;

/// A server that sends the number of each second, to each connection with its own delay, and cuts
/// connections off at a maximum age.
struct SecondsSource {
    begun: Instant,
    policy: ConnectionPolicy,
    cut_off: Duration,
    /// Number of attempts to connect, every third of which fails if the server is flaky.
    attempts: Arc<AtomicU32>,
    flaky: bool,
    /// The second that is sent next.
    next: u64,
    delay: Duration,
    connected_at: Instant,
    closed: bool,
}

impl SecondsSource {
    fn new(policy: ConnectionPolicy, cut_off: u64) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            policy,
            cut_off: Duration::from_secs(cut_off),
            attempts: Arc::default(),
            flaky: false,
            next: 0,
            delay: Duration::ZERO,
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

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        if self.flaky && attempt.is_multiple_of(3) {
            return Err(Disconnect::new(DownCause::Connect, "not now").into());
        }
        self.connected_at = Instant::now();
        self.next = self.begun.elapsed().as_secs() + 1;
        self.delay = Duration::from_millis(u64::from(attempt) * 370 % 900);
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
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
        Some(Box::new(Self {
            begun: self.begun,
            attempts: Arc::clone(&self.attempts),
            flaky: self.flaky,
            ..Self::new(self.policy, self.cut_off.as_secs())
        }))
    }

    fn close(&mut self) -> crate::plugin::CloseStatus {
        self.closed = true;
        crate::plugin::CloseStatus::Draining
    }
}

/// Records for some seconds. Returns the missing numbers, the count of duplicates, and the
/// counters.
async fn record_for(source: SecondsSource, seconds: u64) -> (Vec<u64>, usize, Arc<PipelineStats>) {
    let harness = PipelineHarness::new();
    let pipeline = Pipeline {
        sources: vec![Box::new(source)],
        max_messages: 1_000_000,
        ..PipelineHarness::pipeline(NumberSource::until(0), harness.sink(), Overflow::Block)
    };
    let stop = harness.stop.clone();
    let end = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        stop.cancel();
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let stats = Arc::clone(&harness.stats);
    let token = harness.stop.clone();
    let (ended, ()) =
        tokio::join!(pipeline.run(stats, clock, tokio::time::Instant::now(), token), end);
    ended.unwrap();
    let text = String::from_utf8(harness.lines.lock().unwrap().clone()).unwrap();
    let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    let seen: BTreeSet<u64> = numbers.iter().copied().collect();
    let missing = (1..seconds - 2).filter(|number| !seen.contains(number)).collect();
    (missing, numbers.len() - seen.len(), harness.stats)
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_the_server_cuts_it_off() {
    let max_age = Some(Duration::from_secs(50));
    let source =
        SecondsSource::new(ConnectionPolicy { max_age, ..ConnectionPolicy::default() }, 60);
    let (missing, duplicates, stats) = record_for(source, 3_600).await;
    assert_eq!((missing, duplicates), (vec![], 0));
    let snapshot = stats.snapshot();
    assert!(snapshot.disconnects.is_empty(), "{:?}", snapshot.disconnects);
    assert!((65..75).contains(&snapshot.replaced), "{} replaced", snapshot.replaced);
}

#[tokio::test(start_paused = true)]
async fn a_failed_replacement_is_retried_while_the_old_connection_stays() {
    let max_age = Some(Duration::from_secs(50));
    let source =
        SecondsSource::new(ConnectionPolicy { max_age, ..ConnectionPolicy::default() }, 120);
    let (missing, duplicates, stats) =
        record_for(SecondsSource { flaky: true, ..source }, 3_600).await;
    assert_eq!((missing, duplicates), (vec![], 0));
    assert!(stats.snapshot().disconnects["connect"] > 20);
}

#[tokio::test(start_paused = true)]
async fn without_replacement_messages_are_missing() {
    let source = SecondsSource::new(ConnectionPolicy::default(), 60);
    let (missing, duplicates, _) = record_for(source, 600).await;
    assert!(!missing.is_empty());
    assert_eq!(duplicates, 0);
}

#[tokio::test(start_paused = true)]
async fn two_connections_cut_off_at_different_times_lose_nothing() {
    let max_age = Some(Duration::from_secs(45));
    let source = SecondsSource::new(
        ConnectionPolicy { connections: 2, max_age, ..ConnectionPolicy::default() },
        60,
    );
    let (missing, duplicates, stats) = record_for(source, 600).await;
    assert_eq!((missing, duplicates), (vec![], 0));
    let snapshot = stats.snapshot();
    assert_eq!(snapshot.connections_wanted, 2);
    assert!(snapshot.duplicates > 500, "{} duplicates", snapshot.duplicates);
}

//! One connection from its beginning to its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::group::Group;
use crate::batch::Batch;
use crate::plugin::{Cause, Closing, Disconnect, Source, SourceError};

/// For how long after the stop what the peer has already sent is still read.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// What is noticed within this is noticed at once.
pub(super) const AT_ONCE: Duration = Duration::from_millis(100);
/// For how long a connection that is always ready goes on before others have their turn.
const TURN: Duration = Duration::from_millis(50);

/// A connection, to be run once.
pub(super) struct Link {
    pub(super) group: Arc<Group>,
    pub(super) source: Box<dyn Source>,
    /// Its number among those of the group.
    pub(super) number: usize,
    /// Told when it has come so far.
    pub(super) tell: Sender<(usize, Told)>,
    /// Ends it: the recorder stops, or the connection is replaced.
    pub(super) end: CancellationToken,
    pub(super) history: History,
    /// When something last came.
    pub(super) heard: Instant,
    /// Up to when all was read that had come.
    pub(super) caught_up: Instant,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It stands.
    Up,
    /// All that it subscribes to is answered.
    Subscribed,
    /// Its server is known to send what was subscribed to.
    Settled,
    /// Its server has announced the end.
    Ending,
}

/// What a connection has been.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one connection")]
pub(super) struct History {
    pub(super) lasted: Duration,
    pub(super) messages: u64,
    /// Whether it has brought data.
    pub(super) data_seen: bool,
    subscribed: bool,
    settled: bool,
    ending: bool,
}

/// A connection that has ended.
pub(super) struct Ended {
    pub(super) number: usize,
    pub(super) source: Box<dyn Source>,
    pub(super) history: History,
    /// `Ok` when it was told to end.
    pub(super) how: Result<Left, SourceError>,
}

/// How a connection was left that was told to end, and since when it brings nothing.
#[derive(Debug)]
pub(super) enum Left {
    /// The server has answered: all that it had sent is there.
    Whole(Disconnect),
    /// It has not: something may be missing.
    InDoubt(Disconnect),
}

impl Link {
    pub(super) async fn run(mut self) -> Ended {
        let begun = Instant::now();
        let how = self.connection().await;
        self.history.lasted = begun.elapsed();
        Ended { number: self.number, source: self.source, history: self.history, how }
    }

    async fn connection(&mut self) -> Result<Left, SourceError> {
        let begun = Instant::now();
        match self.end.run_until_cancelled(self.source.connect()).await {
            None => return Ok(Left::Whole(told_to_end())),
            Some(connected) => connected?,
        }
        (self.heard, self.caught_up) = (Instant::now(), Instant::now());
        self.group.up(self.number);
        let took = begun.elapsed();
        info!(endpoint = %self.source.endpoint(), ?took, "connected");
        self.tell(Told::Up);
        if self.source.is_subscribed() {
            self.subscribed();
        }
        let end = self.end.clone();
        let mut turn = Instant::now();
        loop {
            let mut batch = self.group.producer.spare();
            match end.run_until_cancelled(self.read(&mut batch)).await {
                None => return Ok(self.drain().await),
                Some(read) => {
                    self.note_events();
                    read.map_err(|error| self.not_seen_before(error))?;
                }
            }
            self.deliver(batch).await;
            // A connection that is always ready must not starve the status socket.
            tokio::task::consume_budget().await;
            if turn.elapsed() > TURN {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
        }
    }

    /// Reads, and takes note of how far: a read that has to wait has all that had come.
    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let mut read = self.source.read(batch);
        let mut waited = false;
        let done = poll_fn(|cx| {
            let polled = read.as_mut().poll(cx);
            // A task that has had its turn may have to wait though something is there.
            waited |= polled.is_pending() && has_budget_remaining();
            polled
        })
        .await;
        if waited {
            self.caught_up = self.group.pulse.at_work_until(Instant::now());
        }
        done
    }

    /// Where the end was not seen at once, it may have come at any time since all had been read.
    fn not_seen_before(&self, error: SourceError) -> SourceError {
        let behind = Some(self.caught_up.elapsed()).filter(|behind| *behind > AT_ONCE);
        match error {
            SourceError::Disconnected(lost) => {
                let silent_for = lost.silent_for.max(behind);
                SourceError::Disconnected(Disconnect { silent_for, ..lost })
            }
            other => other,
        }
    }

    /// Asks the peer to end and takes what it had sent by then.
    async fn drain(&mut self) -> Left {
        self.note_events();
        let now = Instant::now();
        let heard = self.source.silent_for().and_then(|silent| now.checked_sub(silent));
        self.heard = self.heard.max(heard.unwrap_or(self.heard));
        if self.source.close() == Closing::Done {
            return Left::Whole(told_to_end());
        }
        let begun = Instant::now();
        let deadline = begun + DRAIN_TIMEOUT;
        let unanswered = |detail| Some(Disconnect::new(Cause::Idle, detail));
        let in_doubt = loop {
            let mut batch = self.group.producer.spare();
            let read = timeout_at(deadline, self.source.read(&mut batch)).await;
            self.note_events();
            match read {
                Ok(Ok(())) => self.deliver(batch).await,
                Ok(Err(SourceError::Disconnected(lost))) => {
                    break (!matches!(lost.cause, Cause::Closed | Cause::Eof | Cause::Exited))
                        .then_some(lost);
                }
                Ok(Err(_)) => break None,
                Err(_) => {
                    break unanswered(
                        "the server did not answer when the recorder closed the connection",
                    );
                }
            }
            // A source that is always ready leaves the timer no turn.
            if Instant::now() >= deadline {
                break unanswered("the server was still sending when the recorder stopped reading");
            }
        };
        match in_doubt {
            None => Left::Whole(Disconnect { silent_for: Some(begun.elapsed()), ..told_to_end() }),
            // It may have been dead for as long as it was silent.
            Some(lost) => {
                Left::InDoubt(Disconnect { silent_for: Some(self.heard.elapsed()), ..lost })
            }
        }
    }

    async fn deliver(&mut self, batch: Batch) {
        if batch.is_empty() {
            return self.group.producer.put_back(batch);
        }
        self.heard = Instant::now();
        self.history.data_seen |= batch.has_data();
        self.history.messages += batch.len() as u64;
        self.group.deliver(self.number, batch, self.heard).await;
    }

    /// Takes note of what the source has to tell beside messages.
    fn note_events(&mut self) {
        for event in self.source.events() {
            self.group.tell_of(self.number, event);
        }
        let topics = self.source.subscribed();
        if !topics.is_empty() {
            self.group.come(self.number, topics);
        }
        if !self.history.subscribed && self.source.is_subscribed() {
            self.subscribed();
        }
        if !self.history.settled && self.source.is_settled() {
            self.history.settled = true;
            self.group.settled(self.number);
            self.tell(Told::Settled);
        }
        if !self.history.ending && self.source.is_ending() {
            self.history.ending = true;
            self.tell(Told::Ending);
        }
    }

    /// All that is subscribed to is answered.
    fn subscribed(&mut self) {
        self.history.subscribed = true;
        self.group.subscribed(self.number);
        self.tell(Told::Subscribed);
    }

    fn tell(&self, what: Told) {
        // Whoever made the connection outlives it, and listens.
        if self.tell.try_send((self.number, what)).is_err() {
            debug!("nobody listens to a connection");
        }
    }
}

fn told_to_end() -> Disconnect {
    Disconnect::new(Cause::Closed, "closed by the recorder")
}

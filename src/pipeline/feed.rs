//! Keeps a connection standing: makes it again when it is lost, and replaces it in good time where it
//! is known to end.
//!
//! A replacement is made beside the connection that stands. That one is closed when the new one is
//! [settled](Told::Settled) and has gone on for a moment, so that neither what is on its way is lost
//! nor what a slower server of the same venue has yet to send.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::group::Group;
use super::link::{AT_ONCE, Ended, History, Left, Link, Told};
use crate::backoff::Backoff;
use crate::errors::error_chain;
use crate::plugin::{BoxError, Cause, Disconnect, Source, SourceError, Upkeep};

/// A new connection of which nothing is known is trusted after this.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// For how long both go on when the new one is settled.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// The least time between two replacements, should a server announce its end at every connect.
const BETWEEN: Duration = Duration::from_secs(10);

/// Each connection says four words in its life, and there are two.
const WORDS: usize = 16;

/// Keeps one connection of a group.
pub(crate) struct Feed {
    group: Arc<Group>,
    /// What makes further connections; never connected itself.
    seed: Option<Box<dyn Source>>,
    /// The source that is connected next.
    next: Option<Box<dyn Source>>,
    /// The connection, and behind it the one that is to replace it.
    links: Vec<Running>,
    /// Which of them is looked at first.
    turn: usize,
    /// When a link is to be started.
    start_at: Option<Instant>,
    /// When the first is to be replaced.
    replace_at: Option<Instant>,
    /// When the second is to be replaced, once it is the first: its server has announced its end.
    next_replace_at: Option<Instant>,
    /// When it is to be closed, since it is replaced.
    retire_at: Option<Instant>,
    /// The age at which a connection is replaced, and how much less that is for the first.
    max_age: Option<Duration>,
    head_start: Duration,
    replaced: Option<Instant>,
    backoff: Backoff,
    tell: Sender<(usize, Told)>,
    told: Receiver<(usize, Told)>,
}

struct Running {
    number: usize,
    up: bool,
    end: CancellationToken,
    run: Pin<Box<dyn Future<Output = Ended> + Send>>,
}

/// As many feeds as the source wants connections at once.
pub(super) fn of_group(group: Group, source: Box<dyn Source>) -> Vec<Feed> {
    let Upkeep { connections, max_age } = source.upkeep();
    let mut sources = vec![source];
    while sources.len() < connections
        && let Some(again) = sources.first().and_then(|source| source.again())
    {
        sources.push(again);
    }
    group.stats.expect(group.scope.feed, sources.len());
    let group = Arc::new(group);
    let all = u32::try_from(sources.len()).unwrap_or(u32::MAX);
    let feed = |(place, source)| {
        // So that they do not all come of age at once.
        let head_start = max_age.unwrap_or_default() * place / (2 * all);
        Feed::new(Arc::clone(&group), source, max_age, head_start)
    };
    (0..).zip(sources).map(feed).collect()
}

impl Feed {
    fn new(
        group: Arc<Group>,
        source: Box<dyn Source>,
        max_age: Option<Duration>,
        head_start: Duration,
    ) -> Self {
        let (tell, told) = channel(WORDS);
        Self {
            group,
            seed: source.again(),
            next: Some(source),
            links: Vec::new(),
            turn: 0,
            start_at: Some(Instant::now()),
            replace_at: None,
            next_replace_at: None,
            retire_at: None,
            max_age,
            head_start,
            replaced: None,
            backoff: Backoff::default(),
            tell,
            told,
        }
    }

    /// Runs until told to stop or the source ends, then returns; the queue may still hold
    /// batches.
    ///
    /// # Errors
    /// What the source calls fatal.
    pub(crate) async fn run(mut self) -> Result<(), BoxError> {
        let mut refused = false;
        loop {
            if self.links.is_empty() && (refused || self.group.stop.is_cancelled()) {
                break;
            }
            let (stop, group) = (self.group.stop.clone(), Arc::clone(&self.group));
            let (idle, due) = (self.links.is_empty(), self.due());
            tokio::select! {
                biased;
                ended = first_to_end(&mut self.links, &mut self.turn) => {
                    if let Some(result) = self.on_end(ended) {
                        self.group.report_drops();
                        return result;
                    }
                }
                Some((number, told)) = self.told.recv() => self.on_word(number, told),
                () = stop.cancelled(), if idle => {}
                () = group.producer.until_refused(), if !refused => {
                    refused = true;
                    (self.start_at, self.replace_at, self.retire_at) = (None, None, None);
                    self.links.iter().for_each(|link| link.end.cancel());
                }
                () = at(due) => self.on_time(),
            }
        }
        self.group.report_drops();
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        [self.start_at, self.replace_at, self.retire_at].into_iter().flatten().min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            self.start();
        }
        if self.replace_at.is_some_and(|at| at <= now) {
            self.replace_at = None;
            self.replace("it is as old as `max_connection_age` allows");
        }
        if self.retire_at.is_some_and(|at| at <= now) {
            self.retire_at = None;
            if let Some(first) = self.links.first() {
                first.end.cancel();
            }
        }
    }

    fn start(&mut self) {
        if self.group.producer.is_refused() {
            return;
        }
        let again = || self.seed.as_ref().and_then(|seed| seed.again());
        let Some(source) = self.next.take().or_else(again) else { return };
        let number = self.group.join();
        let end = self.group.stop.child_token();
        let link = Link {
            group: Arc::clone(&self.group),
            source,
            number,
            tell: self.tell.clone(),
            end: end.clone(),
            history: History::default(),
            heard: Instant::now(),
            caught_up: Instant::now(),
        };
        self.links.push(Running { number, up: false, end, run: Box::pin(link.run()) });
    }

    /// Sees to it that a second connection is made.
    fn replace(&mut self, why: &str) {
        let pending = self.links.len() != 1 || self.start_at.is_some();
        if self.seed.is_none() || pending {
            return;
        }
        info!(why, "the connection is replaced: another is made before it is closed");
        let now = Instant::now();
        let earliest = self.replaced.map_or(now, |before| before + BETWEEN);
        self.start_at = Some(earliest.max(now));
        self.replaced = self.start_at;
    }

    fn on_word(&mut self, number: usize, told: Told) {
        let Some(place) = self.links.iter().position(|link| link.number == number) else { return };
        let now = Instant::now();
        match (told, place) {
            (Told::Up, _) => {
                if let Some(link) = self.links.get_mut(place) {
                    link.up = true;
                }
                if place == 0 {
                    self.is_first_since(now);
                }
            }
            (Told::Subscribed | Told::Settled, 0) => {}
            (Told::Subscribed, _) => {
                self.retire_at.get_or_insert(now + SETTLE_LIMIT);
            }
            (Told::Settled, _) => self.retire_at = Some(now + LINGER),
            (Told::Ending, 0) => self.replace("its server announces its end"),
            // Its turn comes.
            (Told::Ending, _) => self.next_replace_at = Some(now + BETWEEN),
        }
    }

    /// From now on it counts how old the first is.
    fn is_first_since(&mut self, now: Instant) {
        let age = self.max_age.map(|age| age.saturating_sub(std::mem::take(&mut self.head_start)));
        let by_age = age.map(|age| now + age);
        self.replace_at = [self.next_replace_at.take(), by_age].into_iter().flatten().min();
    }

    /// A connection has ended. `Some` when the feed has, too.
    fn on_end(&mut self, (place, ended): (usize, Ended)) -> Option<Result<(), BoxError>> {
        self.links.remove(place);
        self.retire_at = None;
        if place > 0 {
            self.next_replace_at = None;
        }
        let Ended { number, source, history, how } = ended;
        let lost = match how {
            Ok(left) if self.group.is_ending() => {
                match left {
                    // It may have sent nothing more from the moment in which it was told to end.
                    Left::Whole(left) if left.silent_for.is_some_and(|it| it > AT_ONCE) => {
                        self.group.left(number, &left);
                    }
                    Left::Whole(_) => self.group.ended(number),
                    Left::InDoubt(lost) => self.group.left(number, &lost),
                }
                return None;
            }
            Ok(Left::Whole(left) | Left::InDoubt(left)) => {
                self.group.left(number, &left);
                self.group.stats.replaced.add(1);
                info!(lasted = ?history.lasted, "the connection is replaced");
                self.new_first();
                return None;
            }
            Err(SourceError::Ended) => {
                self.group.ended(number);
                return Some(Ok(()));
            }
            Err(SourceError::Fatal(error)) => {
                let lost = Disconnect::new(Cause::Other, error_chain(&*error));
                self.group.stats.disconnected(&lost, self.group.clock.now());
                self.group.left(number, &lost);
                return Some(Err(error));
            }
            Err(SourceError::Disconnected(lost)) => lost,
        };
        if history.data_seen && lost.cause != Cause::Refused {
            self.backoff.worked(history.lasted);
        }
        self.group.stats.disconnected(&lost, self.group.clock.now());
        self.group.left(number, &lost);
        let replaced = place == 0 && !self.links.is_empty();
        let retry_in = (!replaced).then(|| self.backoff.next(lost.retry_after));
        report(&source.endpoint(), &history, &lost, retry_in);
        if let Some(delay) = retry_in {
            self.start_at = Some(Instant::now() + delay);
        }
        if self.links.is_empty() {
            self.next = Some(source);
            self.replace_at = None;
        } else if replaced {
            self.new_first();
        }
        None
    }

    /// The second connection is now the first.
    fn new_first(&mut self) {
        if self.links.first().is_some_and(|link| link.up) {
            self.is_first_since(Instant::now());
        }
    }
}

/// Waits for the one that ends first. They take turns in being looked at first, so that none waits for
/// another that is always ready.
async fn first_to_end(links: &mut [Running], turn: &mut usize) -> (usize, Ended) {
    poll_fn(|cx| {
        *turn = turn.wrapping_add(1);
        for step in 0..links.len() {
            let place = turn.wrapping_add(step) % links.len();
            if let Some(link) = links.get_mut(place)
                && let Poll::Ready(ended) = link.run.as_mut().poll(cx)
            {
                return Poll::Ready((place, ended));
            }
        }
        Poll::Pending
    })
    .await
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn report(endpoint: &str, history: &History, lost: &Disconnect, retry_in: Option<Duration>) {
    let cause = lost.cause.as_str();
    // Debug quotes the server's words and escapes what a terminal would obey.
    let detail = &lost.detail;
    let History { lasted, messages, .. } = history;
    let retry_in = retry_in.unwrap_or_default();
    if lost.cause == Cause::Refused {
        // What a person must look at: waiting alone is unlikely to heal it.
        error!(endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
    } else {
        warn!(endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
    }
}

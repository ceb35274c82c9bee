//! Attempts to connect to several addresses at once, of which the first that succeeds counts.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::dialed_stream::DialedStream;

/// Time after which the next address is tried beside those before (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The attempts of one connect. Dropping it drops the attempts that are under way.
pub(super) struct Race {
    waiting: VecDeque<SocketAddr>,
    tried: Vec<SocketAddr>,
    attempts: FuturesUnordered<BoxFuture<'static, Attempt>>,
    failures: Vec<(SocketAddr, io::Error)>,
    /// Time at which the next address is tried.
    next_at: Instant,
    deadline: Instant,
}

/// An attempt that has ended.
struct Attempt {
    address: SocketAddr,
    result: io::Result<TcpStream>,
}

impl Race {
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            tried: Vec::new(),
            attempts: FuturesUnordered::new(),
            failures: Vec::new(),
            next_at: Instant::now(),
            deadline,
        }
    }

    /// Replaces the addresses that wait for their turn. Those that were tried are left out.
    pub(super) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        let is_new = |address: &SocketAddr| !self.tried.contains(address);
        self.waiting = addresses.into_iter().filter(is_new).collect();
    }

    /// Returns whether no attempt is under way and none will be.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.attempts.is_empty()
    }

    /// Returns the first connection, or `None` once every address has failed. It may be dropped and
    /// called again.
    pub(super) async fn run(&mut self) -> Option<DialedStream> {
        loop {
            if self.attempts.is_empty() || Instant::now() >= self.next_at {
                self.start_next();
            }
            if self.attempts.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                Some(Attempt { address, result }) = self.attempts.next() => match result {
                    Ok(stream) => return Some(DialedStream { stream, address }),
                    Err(error) => {
                        self.failures.push((address, error));
                        self.next_at = Instant::now();
                    }
                },
                () = sleep_until(self.next_at), if !self.waiting.is_empty() => {}
            }
        }
    }

    /// Tries the next address. Every address gets its turn before the deadline.
    fn start_next(&mut self) {
        let Some(address) = self.waiting.pop_front() else { return };
        self.tried.push(address);
        self.attempts.push(Box::pin(async move {
            Attempt { address, result: TcpStream::connect(address).await }
        }));
        let now = Instant::now();
        let turns = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        let share = self.deadline.saturating_duration_since(now) / turns;
        self.next_at = now + ATTEMPT_DELAY.min(share);
    }

    /// Returns what came of each address, for the error.
    pub(super) fn describe(&self) -> String {
        let describe = |address: &SocketAddr| {
            let failure = self.failures.iter().find(|(failed, _)| failed == address);
            failure.map_or_else(
                || format!("{address}: no answer"),
                |(_, error)| format!("{address}: {error}"),
            )
        };
        self.tried.iter().map(describe).collect::<Vec<_>>().join("; ")
    }
}

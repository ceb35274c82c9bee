//! Opening TCP connections to hosts with several addresses.

mod address_book;
mod dialed_stream;
mod race;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use self::address_book::{AddressBook, LookupResult, PendingLookup};
pub(super) use self::dialed_stream::DialedStream;
use self::race::Race;
use super::host_port::HostPort;
use crate::plugin::{Disconnect, DownCause};

/// Time for which a name look-up is awaited before the addresses of earlier ones are tried.
const LOOKUP_DELAY: Duration = Duration::from_millis(250);

/// A function that looks up the addresses of a host.
type Resolver = dyn Fn(HostPort) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Opens TCP connections as RFC 8305 says ("happy eyeballs"): the addresses of both families in turn,
/// the next one after 250 ms or as soon as one has failed, and the first that answers counts.
///
/// The address of the last connection that worked goes first. While a name look-up is slow, or if it
/// fails, the addresses of earlier ones are used. Clones share what is known of addresses.
#[derive(Clone)]
pub(super) struct Dialer {
    resolver: Arc<Resolver>,
    book: Arc<Mutex<AddressBook>>,
    lookups: Arc<Mutex<JoinSet<()>>>,
}

impl Dialer {
    /// Creates a dialer that asks the resolver of the system.
    pub(super) fn new() -> Self {
        Self::with_resolver(Arc::new(|host| Box::pin(look_up(host))))
    }

    fn with_resolver(resolver: Arc<Resolver>) -> Self {
        Self { resolver, book: Arc::default(), lookups: Arc::default() }
    }

    /// Connects to the first address of the host that answers before `deadline`. `limit` is the time
    /// that the whole connect may take, for the error.
    pub(super) async fn connect(
        &self,
        host: &HostPort,
        deadline: Instant,
        limit: Duration,
    ) -> Result<DialedStream, Disconnect> {
        let mut lookup = self.start_lookup(host);
        let mut is_lookup_pending = true;
        let mut is_known_due = true;
        let known_due_at = Instant::now() + LOOKUP_DELAY;
        let mut race = Race::new(deadline);
        loop {
            tokio::select! {
                biased;
                result = lookup_result(&mut lookup), if is_lookup_pending => {
                    is_lookup_pending = false;
                    race.set_addresses(self.addresses_after(host, result)?);
                }
                stream = race.run(), if !race.is_over() => {
                    if let Some(stream) = stream {
                        return Ok(stream);
                    }
                }
                () = sleep_until(known_due_at), if is_known_due && is_lookup_pending => {
                    is_known_due = false;
                    let known = self.book().known(host);
                    if !known.is_empty() {
                        debug!(host = %host.host, "the name look-up is slow: using known addresses");
                        race.set_addresses(known);
                    }
                }
                () = sleep_until(deadline) => {
                    let detail = match race.describe() {
                        tried if tried.is_empty() => {
                            format!("the name look-up of {} took more than {limit:?}", host.host)
                        }
                        tried => format!("a connection took more than {limit:?} ({tried})"),
                    };
                    return Err(Disconnect::new(DownCause::ConnectTimeout, detail));
                }
            }
            if !is_lookup_pending && race.is_over() {
                return Err(Disconnect::new(DownCause::Connect, race.describe()));
            }
        }
    }

    /// Returns the addresses to try after a look-up.
    fn addresses_after(
        &self,
        host: &HostPort,
        result: LookupResult,
    ) -> Result<Vec<SocketAddr>, Disconnect> {
        let failure = match result {
            Ok(addresses) if addresses.is_empty() => "it has no address".to_owned(),
            Ok(addresses) => return Ok(self.book().in_order(host, &addresses)),
            Err(failure) => failure,
        };
        let known = self.book().known(host);
        if known.is_empty() {
            return Err(Disconnect::new(DownCause::Dns, format!("{}: {failure}", host.host)));
        }
        warn!(host = %host.host, ?failure, "the name look-up failed: using known addresses");
        Ok(known)
    }

    /// Records that a connection to the host over the address works: it goes first from now on.
    pub(super) fn confirm(&self, host: &HostPort, address: SocketAddr) {
        self.book().confirm(host, address);
    }

    /// Records that a connection to the host over the address was made, and did not work: it goes
    /// last from now on.
    pub(super) fn report_faulty(&self, host: &HostPort, address: SocketAddr) {
        self.book().report_faulty(host, address);
    }

    /// Starts a name look-up, or joins the one that is under way: the resolver of the system cannot
    /// be stopped, and a thread waits for it. The result is kept although nobody waits for it anymore.
    fn start_lookup(&self, host: &HostPort) -> PendingLookup {
        let mut book = self.book();
        if let Some(pending) = book.pending_lookup(host) {
            return pending;
        }
        let (sender, receiver) = watch::channel(None);
        book.start_lookup(host, receiver.clone());
        drop(book);
        let lookup = (self.resolver)(host.clone());
        let book = Arc::clone(&self.book);
        let host = host.clone();
        let mut lookups = lock(&self.lookups);
        while lookups.try_join_next().is_some() {}
        lookups.spawn(async move {
            let result = lookup.await.map_err(|error| error.to_string());
            lock(&book).end_lookup(&host, &result);
            // The connect that waited may have ended.
            drop(sender.send(Some(result)));
        });
        receiver
    }

    fn book(&self) -> MutexGuard<'_, AddressBook> {
        lock(&self.book)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Awaits the end of a look-up.
async fn lookup_result(lookup: &mut PendingLookup) -> LookupResult {
    match lookup.wait_for(Option::is_some).await {
        Ok(result) => result.clone().unwrap_or_else(|| Ok(Vec::new())),
        Err(_) => Err("the look-up was given up".to_owned()),
    }
}

/// Looks up the addresses of a host. A trailing dot keeps the resolver from completing the name; not
/// every resolver finds a name of the file `hosts` with it.
async fn look_up(host: HostPort) -> io::Result<Vec<SocketAddr>> {
    match lookup_host(host.as_pair()).await {
        Err(_) if host.host.ends_with('.') => {
            Ok(lookup_host((host.name(), host.port)).await?.collect())
        }
        found => Ok(found?.collect()),
    }
}

#[cfg(test)]
mod tests;

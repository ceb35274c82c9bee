//! What connects so far have shown of the addresses of hosts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::sources::websocket::host_port::HostPort;

/// Time for which addresses are used after the last look-up that found them.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The result of a name look-up: the addresses, or the words of the error.
pub(super) type LookupResult = Result<Vec<SocketAddr>, String>;
/// A name look-up that is under way; `None` until it ends.
pub(super) type PendingLookup = watch::Receiver<Option<LookupResult>>;

/// The addresses of hosts, and the look-ups that are under way.
#[derive(Default)]
pub(super) struct AddressBook {
    hosts: HashMap<HostPort, KnownHost>,
}

#[derive(Default)]
struct KnownHost {
    addresses: Vec<SocketAddr>,
    found_at: Option<Instant>,
    /// Address of the last connection that worked.
    best: Option<SocketAddr>,
    /// Addresses that were connected to and did not work then.
    faulty: Vec<SocketAddr>,
    pending: Option<PendingLookup>,
}

impl AddressBook {
    /// Returns the look-up of the host that is under way.
    pub(super) fn pending_lookup(&self, host: &HostPort) -> Option<PendingLookup> {
        self.hosts.get(host)?.pending.clone()
    }

    /// Records that a look-up has begun.
    pub(super) fn start_lookup(&mut self, host: &HostPort, lookup: PendingLookup) {
        self.host(host).pending = Some(lookup);
    }

    /// Records the end of a look-up.
    pub(super) fn end_lookup(&mut self, host: &HostPort, result: &LookupResult) {
        let known = self.host(host);
        known.pending = None;
        if let Ok(addresses) = result {
            known.addresses.clone_from(addresses);
            known.found_at = Some(Instant::now());
            known.faulty.retain(|address| addresses.contains(address));
        }
    }

    /// Returns the addresses that earlier look-ups found, in the order in which to try them.
    pub(super) fn known(&self, host: &HostPort) -> Vec<SocketAddr> {
        let Some(known) = self.hosts.get(host) else { return Vec::new() };
        let is_fresh = known.found_at.is_some_and(|found_at| found_at.elapsed() < MAX_AGE);
        if is_fresh { self.in_order(host, &known.addresses) } else { Vec::new() }
    }

    /// Returns addresses of the host in the order in which to try them: the one that worked last,
    /// then both families in turn, then those that did not work.
    pub(super) fn in_order(&self, host: &HostPort, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let nothing = KnownHost::default();
        let known = self.hosts.get(host).unwrap_or(&nothing);
        let (faulty, good): (Vec<SocketAddr>, Vec<SocketAddr>) =
            addresses.iter().partition(|address| known.faulty.contains(address));
        let best = known.best.filter(|best| good.contains(best));
        let rest = good.into_iter().filter(|address| Some(*address) != best).collect();
        // After an address of one family, the next one is of the other.
        let last_family = best.map(|best| best.is_ipv6());
        best.into_iter()
            .chain(alternate(rest, last_family))
            .chain(alternate(faulty, None))
            .collect()
    }

    /// Records that a connection over the address works.
    pub(super) fn confirm(&mut self, host: &HostPort, address: SocketAddr) {
        let known = self.host(host);
        known.best = Some(address);
        known.faulty.retain(|faulty| *faulty != address);
    }

    /// Records that a connection over the address was made, and did not work.
    pub(super) fn report_faulty(&mut self, host: &HostPort, address: SocketAddr) {
        let known = self.host(host);
        known.best = known.best.filter(|best| *best != address);
        if !known.faulty.contains(&address) {
            known.faulty.push(address);
        }
        // If none works, none is worse than the others.
        let is_faulty = |address: &SocketAddr| known.faulty.contains(address);
        if !known.addresses.is_empty() && known.addresses.iter().all(is_faulty) {
            known.faulty.retain(|faulty| *faulty == address);
        }
    }

    fn host(&mut self, host: &HostPort) -> &mut KnownHost {
        self.hosts.entry(host.clone()).or_default()
    }
}

/// Orders addresses so that families alternate. The first is of another family than `last_is_ipv6`
/// if there is one, or else of the family of the first.
fn alternate(addresses: Vec<SocketAddr>, last_is_ipv6: Option<bool>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let starts_with_ipv6 = last_is_ipv6.map_or(first.is_ipv6(), |last| !last);
    let (ipv6, ipv4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let (one, other) = if starts_with_ipv6 { (ipv6, ipv4) } else { (ipv4, ipv6) };
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let parse = |text: &&str| SocketAddr::new(text.parse::<IpAddr>().unwrap(), 1);
        texts.iter().map(parse).collect()
    }

    fn order(book: &AddressBook, texts: &[&str]) -> Vec<String> {
        let host = HostPort::new("h", 1);
        let ordered = book.in_order(&host, &addresses(texts));
        ordered.iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn families_alternate_after_the_address_that_worked_last() {
        let host = HostPort::new("h", 1);
        let mut book = AddressBook::default();
        let all = ["::1", "::2", "::3", "1.1.1.1", "1.1.1.2"];
        assert_eq!(order(&book, &all), ["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"]);
        let [best, faulty] = addresses(&["1.1.1.2", "::1"])[..] else { unreachable!() };
        book.confirm(&host, best);
        assert_eq!(order(&book, &all), ["1.1.1.2", "::1", "1.1.1.1", "::2", "::3"]);
        book.report_faulty(&host, faulty);
        assert_eq!(order(&book, &all), ["1.1.1.2", "::2", "1.1.1.1", "::3", "::1"]);
        book.report_faulty(&host, best);
        assert_eq!(order(&book, &all), ["::2", "1.1.1.1", "::3", "::1", "1.1.1.2"]);
        book.confirm(&host, faulty);
        assert_eq!(order(&book, &all), ["::1", "1.1.1.1", "::2", "::3", "1.1.1.2"]);
        // An address that the name does not have anymore is not used.
        assert_eq!(order(&book, &["1.1.1.1"]), ["1.1.1.1"]);
        assert!(order(&book, &[]).is_empty());
    }

    #[test]
    fn addresses_are_known_until_a_later_lookup_or_for_a_day() {
        let host = HostPort::new("h", 1);
        let mut book = AddressBook::default();
        assert!(book.known(&host).is_empty());
        book.end_lookup(&host, &Ok(addresses(&["1.1.1.1"])));
        book.end_lookup(&host, &Err("gone".to_owned()));
        assert_eq!(book.known(&host), addresses(&["1.1.1.1"]));
        book.end_lookup(&host, &Ok(addresses(&["1.1.1.2"])));
        assert_eq!(book.known(&host), addresses(&["1.1.1.2"]));
        assert!(book.known(&HostPort::new("h", 2)).is_empty());
        let known = book.hosts.get_mut(&host).unwrap();
        known.found_at = Instant::now().checked_sub(MAX_AGE);
        assert!(known.found_at.is_none() || book.known(&host).is_empty());
    }
}

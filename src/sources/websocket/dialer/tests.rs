//! Tests of the dialer with real sockets on loopback, and a resolver of the test's own.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream as BlockingStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use tokio::sync::Semaphore;

use super::*;

/// A limit that no test comes near, and of which no share may be waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// A time that shows that no share of [`LIMIT`] was waited for.
const SOON: Duration = Duration::from_secs(15);

/// An address that swallows packets: its queue of connections is full and nobody accepts them.
struct BlackHole {
    address: SocketAddr,
    _listener: rustix::fd::OwnedFd,
    _queued: Vec<BlockingStream>,
}

impl BlackHole {
    fn new(ip: Ipv4Addr) -> Self {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddr::from((ip, 0))).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = BlockingStream::connect_timeout(&address, Duration::from_millis(300))
        {
            queued.push(stream);
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

fn listener(ip: Ipv4Addr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Returns an address at which nobody listens.
fn closed_address(ip: Ipv4Addr) -> SocketAddr {
    listener(ip).1
}

fn host() -> HostPort {
    HostPort::new("several.test", 1)
}

/// Returns a dialer whose look-ups find these addresses at once.
fn dialer(addresses: &[SocketAddr]) -> Dialer {
    let addresses = addresses.to_vec();
    Dialer::with_resolver(Arc::new(move |_| {
        let found = addresses.clone();
        Box::pin(async move { Ok(found) })
    }))
}

async fn connect(dialer: &Dialer) -> Result<SocketAddr, Disconnect> {
    let deadline = Instant::now() + LIMIT;
    dialer.connect(&host(), deadline, LIMIT).await.map(|dialed| dialed.address)
}

#[tokio::test]
async fn an_address_that_swallows_packets_delays_a_connect_by_a_moment_once() {
    let started = Instant::now();
    let holes = [2, 3, 4].map(|last| BlackHole::new(Ipv4Addr::new(127, 0, 0, last)));
    let (_listener, good) = listener(Ipv4Addr::LOCALHOST);
    let mut addresses = holes.each_ref().map(|hole| hole.address).to_vec();
    addresses.push(good);
    let dialer = dialer(&addresses);
    assert_eq!(connect(&dialer).await.unwrap(), good);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    // From then on it goes first.
    dialer.confirm(&host(), good);
    assert_eq!(dialer.book().in_order(&host(), &addresses)[0], good);
    assert_eq!(connect(&dialer).await.unwrap(), good);
}

#[tokio::test]
async fn after_a_refusal_the_next_address_is_tried_at_once() {
    let (_listener, good) = listener(Ipv4Addr::LOCALHOST);
    let closed = [5, 6, 7].map(|last| closed_address(Ipv4Addr::new(127, 0, 0, last)));
    let dialer = dialer(&[closed[0], closed[1], closed[2], good]);
    assert_eq!(connect(&dialer).await.unwrap(), good);
}

#[tokio::test]
async fn an_address_whose_connection_does_not_work_goes_last() {
    let (_one, bad) = listener(Ipv4Addr::LOCALHOST);
    let (_other, good) = listener(Ipv4Addr::new(127, 0, 0, 2));
    let dialer = dialer(&[bad, good]);
    assert_eq!(connect(&dialer).await.unwrap(), bad);
    dialer.report_faulty(&host(), bad);
    assert_eq!(connect(&dialer).await.unwrap(), good);
    dialer.confirm(&host(), good);
    assert_eq!(connect(&dialer).await.unwrap(), good);
}

#[tokio::test]
async fn the_error_says_what_came_of_each_address() {
    let closed = closed_address(Ipv4Addr::LOCALHOST);
    let error = connect(&dialer(&[closed])).await.unwrap_err();
    assert_eq!(error.cause, DownCause::Connect);
    assert!(error.detail.contains(&format!("{closed}: Connection refused")), "{}", error.detail);
    let hole = BlackHole::new(Ipv4Addr::new(127, 0, 0, 8));
    let limit = Duration::from_millis(300);
    let dialer = dialer(&[closed, hole.address]);
    let error = dialer.connect(&host(), Instant::now() + limit, limit).await.err().unwrap();
    assert_eq!(error.cause, DownCause::ConnectTimeout);
    let words = format!("{}: no answer", hole.address);
    assert!(error.detail.contains("300ms") && error.detail.contains(&words), "{}", error.detail);
    let nothing = Dialer::with_resolver(Arc::new(|_| Box::pin(async { Ok(Vec::new()) })));
    assert_eq!(connect(&nothing).await.unwrap_err().cause, DownCause::Dns);
}

#[tokio::test]
async fn every_address_gets_its_turn_before_the_deadline() {
    let hole = BlackHole::new(Ipv4Addr::new(127, 0, 0, 9));
    let mut addresses: Vec<SocketAddr> = (1..200)
        .map(|last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), hole.address.port() ^ last)))
        .filter(|address| address.port() > 1024)
        .collect();
    addresses.insert(0, hole.address);
    addresses.insert(0, SocketAddr::from((Ipv6Addr::LOCALHOST, hole.address.port())));
    let (_listener, good) = listener(Ipv4Addr::LOCALHOST);
    addresses.push(good);
    assert_eq!(connect(&dialer(&addresses)).await.unwrap(), good);
}

#[tokio::test]
async fn while_the_resolver_hangs_known_addresses_are_used_and_one_lookup_waits() {
    let (_listener, good) = listener(Ipv4Addr::LOCALHOST);
    let lookups = Arc::new(AtomicUsize::new(0));
    let answers = Arc::new(Semaphore::new(1));
    let dialer = Dialer::with_resolver({
        let (lookups, answers) = (Arc::clone(&lookups), Arc::clone(&answers));
        Arc::new(move |_| {
            lookups.fetch_add(1, Ordering::Relaxed);
            let answers = Arc::clone(&answers);
            Box::pin(async move {
                answers.acquire().await.unwrap().forget();
                Ok(vec![good])
            })
        })
    });
    assert_eq!(connect(&dialer).await.unwrap(), good);
    assert_eq!(lookups.load(Ordering::Relaxed), 1);
    // From now on look-ups hang. Known addresses are used, and look-ups do not pile up.
    for _ in 0..3 {
        assert_eq!(connect(&dialer).await.unwrap(), good);
    }
    assert_eq!(lookups.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_lookup_that_outlives_its_connect_serves_the_next_one() {
    let (_listener, good) = listener(Ipv4Addr::LOCALHOST);
    let answers = Arc::new(Semaphore::new(0));
    let dialer = Dialer::with_resolver({
        let answers = Arc::clone(&answers);
        Arc::new(move |_| {
            let answers = Arc::clone(&answers);
            Box::pin(async move {
                answers.acquire().await.unwrap().forget();
                Ok(vec![good])
            })
        })
    });
    let limit = Duration::from_millis(50);
    let error = dialer.connect(&host(), Instant::now() + limit, limit).await.err().unwrap();
    assert_eq!(error.cause, DownCause::ConnectTimeout);
    assert!(error.detail.contains("the name look-up of several.test"), "{}", error.detail);
    answers.add_permits(1);
    assert_eq!(connect(&dialer).await.unwrap(), good);
}

#[tokio::test]
async fn when_the_lookup_fails_known_addresses_are_used() {
    let (_listener, good) = listener(Ipv4Addr::LOCALHOST);
    let works = Arc::new(AtomicUsize::new(1));
    let dialer = Dialer::with_resolver({
        let works = Arc::clone(&works);
        Arc::new(move |_| {
            let result = match works.swap(0, Ordering::Relaxed) {
                0 => Err(io::Error::other("no such name")),
                _ => Ok(vec![good]),
            };
            Box::pin(async move { result })
        })
    });
    assert_eq!(connect(&dialer).await.unwrap(), good);
    assert_eq!(connect(&dialer).await.unwrap(), good);
    let other = HostPort::new("other.test", 1);
    let error = dialer.connect(&other, Instant::now() + LIMIT, LIMIT).await.err().unwrap();
    assert_eq!((error.cause, error.detail.as_str()), (DownCause::Dns, "other.test: no such name"));
}

//! Connects to a host name with several addresses (RFC 8305, "Happy Eyeballs").
//!
//! `localhost` is `127.0.0.1` and `::1`, and a server often listens on only one of them. So
//! attempts overlap: the next address is tried when the previous one fails or does not respond
//! within a short delay, and the first connection wins. From then on the address that worked is
//! tried first, by requests and by health checks.
//!
//! Must stay true: every connection to a named backend is opened here, before anything is sent, so
//! that trying another address never repeats a request.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::{
    Error, ErrorType,
    connectors::L4Connect,
    protocols::l4::{socket, stream::Stream},
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Most addresses of one name that are used.
const MAX_ADDRESSES: usize = 16;
/// Delay before the next attempt starts in parallel (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
const MIN_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// The addresses of a backend's name, in the order in which they are tried. Empty: the name has
/// never been resolved.
#[derive(Debug)]
pub(in crate::proxy) struct Addresses {
    list: ArcSwap<Vec<SocketAddr>>,
    /// Limit for all attempts of one connection together.
    connect_timeout: Duration,
}

impl Addresses {
    pub(in crate::proxy) fn unresolved(connect_timeout: Duration) -> Self {
        Self {
            list: ArcSwap::default(),
            connect_timeout,
        }
    }

    /// All addresses, in the order in which they are tried.
    pub(in crate::proxy) fn list(&self) -> Arc<Vec<SocketAddr>> {
        self.list.load_full()
    }

    /// The address that is tried first.
    pub(in crate::proxy) fn first(&self) -> Option<SocketAddr> {
        self.list.load().first().copied()
    }

    /// Replaces the addresses. The first one stays first if it is among the new ones. An empty list
    /// changes nothing.
    pub(in crate::proxy) fn set(&self, found: &[SocketAddr]) {
        if found.is_empty() {
            return;
        }
        self.list.rcu(|before| {
            let mut list = interleave(found);
            if let Some(at) = before
                .first()
                .and_then(|first| list.iter().position(|address| address == first))
            {
                list[..=at].rotate_right(1);
            }
            list
        });
    }

    /// Moves an address that works to the front.
    fn prefer(&self, good: SocketAddr) {
        if self.first() == Some(good) {
            return;
        }
        self.list.rcu(|before| {
            let mut list = Vec::clone(before);
            // It may have been removed meanwhile.
            if let Some(at) = list.iter().position(|address| *address == good) {
                list[..=at].rotate_right(1);
            }
            list
        });
    }

    /// Moves an address that accepts connections but is unusable to the end. Returns the number of
    /// other addresses.
    pub(in crate::proxy) fn demote(&self, bad: SocketAddr) -> usize {
        self.list.rcu(|before| {
            let mut list = Vec::clone(before);
            if list.first() == Some(&bad) {
                list.rotate_left(1);
            }
            list
        });
        self.list
            .load()
            .iter()
            .filter(|address| **address != bad)
            .count()
    }
}

#[async_trait]
impl L4Connect for Addresses {
    /// Ignores pingora's address, which was the first one when the request began.
    async fn connect(&self, _: &socket::SocketAddr) -> pingora::Result<Stream> {
        let list = self.list();
        match dial(&list, self.connect_timeout).await {
            Ok((stream, address)) => {
                self.prefer(address);
                Ok(stream.into())
            }
            Err(error) => Error::e_because(
                error_type(&error),
                "no address of the backend accepts a connection",
                error,
            ),
        }
    }
}

fn error_type(error: &io::Error) -> ErrorType {
    match error.kind() {
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    }
}

/// Alternates between address families (RFC 8305 section 4), starting with IPv4: old backends
/// listen there, and `localhost` resolves to `::1` first.
fn interleave(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut v4 = found.iter().filter(|address| address.is_ipv4());
    let mut v6 = found.iter().filter(|address| address.is_ipv6());
    let mut list: Vec<SocketAddr> = Vec::new();
    loop {
        let pair = [v4.next(), v6.next()];
        if pair == [None, None] {
            list.truncate(MAX_ADDRESSES);
            return list;
        }
        for address in pair.into_iter().flatten() {
            if !list.contains(address) {
                list.push(*address);
            }
        }
    }
}

/// Connects to the first address that accepts, within `connect_timeout`, and returns that address.
async fn dial(
    addresses: &[SocketAddr],
    connect_timeout: Duration,
) -> io::Result<(TcpStream, SocketAddr)> {
    let connecting = async {
        if let [only] = addresses {
            return TcpStream::connect(only).await.map(|stream| (stream, *only));
        }
        let delay = attempt_delay(addresses.len(), connect_timeout);
        let mut waiting = addresses.iter().copied();
        let mut attempts = JoinSet::new();
        let mut last_error =
            io::Error::new(io::ErrorKind::AddrNotAvailable, "the name is not resolved");
        loop {
            if let Some(address) = waiting.next() {
                attempts.spawn(async move { (address, TcpStream::connect(address).await) });
            }
            tokio::select! {
                biased;
                ended = attempts.join_next() => match ended {
                    Some(Ok((address, Ok(stream)))) => return Ok((stream, address)),
                    Some(Ok((_, Err(error)))) => last_error = error,
                    // The runtime was shut down.
                    Some(Err(_)) => {}
                    None => return Err(last_error),
                },
                () = sleep(delay), if waiting.len() > 0 => {}
            }
        }
    };
    timeout(connect_timeout, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The delay between attempts, short enough to try every address in time.
fn attempt_delay(addresses: usize, connect_timeout: Duration) -> Duration {
    let share = connect_timeout / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
    share.clamp(MIN_ATTEMPT_DELAY, ATTEMPT_DELAY)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A listener and its address.
    fn listener(on: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(on).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn silent_port(on: &str) -> SocketAddr {
        listener(on).1
    }

    #[test]
    fn families_take_turns_and_ipv4_begins() {
        let found = [
            "[::1]:1",
            "[::2]:1",
            "[::3]:1",
            "10.0.0.1:1",
            "10.0.0.1:1",
            "10.0.0.2:1",
        ]
        .map(at);
        let expected = ["10.0.0.1:1", "[::1]:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"].map(at);
        assert_eq!(interleave(&found), expected);
        let many: Vec<_> = (1..200)
            .map(|n| SocketAddr::new([10, 0, 0, n].into(), 1))
            .collect();
        assert_eq!(interleave(&many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn the_address_in_use_stays_first_while_the_name_has_it() {
        let addresses = Addresses::unresolved(PATIENCE);
        assert_eq!(addresses.first(), None);
        for (found, first) in [
            (vec!["[::1]:1", "127.0.0.1:1"], "127.0.0.1:1"),
            (vec!["127.0.0.9:1", "127.0.0.1:1"], "127.0.0.1:1"),
            (vec![], "127.0.0.1:1"),
            (vec!["[::1]:1", "127.0.0.2:1"], "127.0.0.2:1"),
            (vec!["[::1]:1"], "[::1]:1"),
            // The address that works stays first, although a new one would come before it.
            (vec!["127.0.0.1:1", "[::1]:1"], "[::1]:1"),
        ] {
            addresses.set(&found.iter().map(|text| at(text)).collect::<Vec<_>>());
            assert_eq!(addresses.first(), Some(at(first)), "{found:?}");
        }
        assert_eq!(addresses.demote(at("[::1]:1")), 1);
        assert_eq!(*addresses.list(), ["127.0.0.1:1", "[::1]:1"].map(at));
        assert_eq!(
            addresses.demote(at("[::1]:1")),
            1,
            "it is not first, so nothing changes"
        );
        assert_eq!(addresses.first(), Some(at("127.0.0.1:1")));
        addresses.prefer(at("[::9]:1"));
        assert_eq!(
            addresses.first(),
            Some(at("127.0.0.1:1")),
            "what is not in the list cannot be preferred"
        );
        addresses.set(&[at("127.0.0.1:1")]);
        assert_eq!(addresses.demote(at("127.0.0.1:1")), 0);
    }

    #[tokio::test]
    async fn the_first_address_that_takes_a_connection_is_found_and_remembered() {
        let (_one, good) = listener("127.0.0.1:0");
        let (_six, good6) = listener("[::1]:0");
        let dead = silent_port("127.0.0.1:0");
        let dead6 = silent_port("[::1]:0");
        for (found, expected) in [
            (vec![good], Some(good)),
            (vec![dead, good], Some(good)),
            (vec![dead6, good], Some(good)),
            (vec![dead, good6], Some(good6)),
            (vec![dead, dead6, good6, dead], Some(good6)),
            (vec![dead, dead6], None),
            (vec![dead], None),
            (vec![], None),
        ] {
            let addresses = Addresses::unresolved(PATIENCE);
            addresses.set(&found);
            let connected = addresses.connect(&socket::SocketAddr::Inet(dead)).await;
            assert_eq!(connected.is_ok(), expected.is_some(), "{found:?}");
            match (connected, expected) {
                (Ok(_), _) => assert_eq!(addresses.first(), expected, "{found:?}"),
                (Err(error), _) if found.is_empty() => {
                    assert_eq!(*error.etype(), ErrorType::ConnectNoRoute);
                }
                (Err(error), _) => {
                    assert_eq!(*error.etype(), ErrorType::ConnectRefused, "{found:?}");
                }
            }
        }
    }

    #[test]
    fn every_address_has_its_turn_within_the_time_for_a_connection() {
        let secs = Duration::from_secs;
        assert_eq!(attempt_delay(2, secs(1)), ATTEMPT_DELAY);
        assert_eq!(attempt_delay(16, secs(1)), Duration::from_micros(62_500));
        assert_eq!(
            attempt_delay(16, Duration::from_millis(1)),
            MIN_ATTEMPT_DELAY
        );
        assert!(attempt_delay(0, secs(1)) <= ATTEMPT_DELAY);
    }

    /// Like a firewall that drops packets: the full queue of a listener gives no answer.
    #[tokio::test(start_paused = true)]
    async fn an_address_that_says_nothing_does_not_hold_up_the_next_one() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(at("127.0.0.1:0")).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) = timeout(PATIENCE, TcpStream::connect(silent)).await {
            queued.push(connected.unwrap());
            assert!(queued.len() < 50, "the queue is never full");
        }
        let (_one, good) = listener("127.0.0.1:0");
        let (_stream, address) = dial(&[silent, good], PATIENCE).await.unwrap();
        assert_eq!(address, good);
        assert_eq!(
            dial(&[silent], PATIENCE).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }
}

//! Open connections: how many there are, and which of them only read on after their response
//! ("lingering close").
//!
//! A client that is still sending a body when its request is rejected has to be read on: closing a
//! connection with unread bytes resets it, and the client may never see the response (RFC 9112
//! section 9.6). The cost is bounded: by the announced length (1 GiB for a chunked body), by the
//! time of the slowest upload allowed, and, for all lingering connections together, by a share of
//! `server.max_connections`, beyond which the oldest is closed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::IntGauge;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpStream, UnixStream},
    runtime::Handle,
    sync::{Notify, oneshot},
    time::{Instant, timeout, timeout_at},
};

/// Slowest rate of a body, in bytes per second, once it has lasted longer than
/// `server.body_timeout`.
pub(super) const MIN_BODY_RATE: u64 = 512;
/// How long a client may take to close its side once nothing more is expected from it.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// One in this many connections may linger, up to [`MAX_LINGERING`].
const LINGERING_SHARE: usize = 4;
const MAX_LINGERING: usize = 5000;
/// Stands for the length of a chunked body.
pub(super) const UNKNOWN_LENGTH: u64 = u64::MAX;
/// Most bytes that are discarded of a chunked body.
const MAX_UNANNOUNCED: u64 = 1 << 30;
/// The end of a chunked body without trailers (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Bytes that are read and discarded at once.
const DISCARD_BUFFER: usize = 8 * 1024;

/// Counts open connections.
#[derive(Debug)]
pub(super) struct ConnectionTracker {
    open: AtomicUsize,
    drained: Notify,
    gauge: IntGauge,
    /// Lingering connections, oldest first; dropping the sender closes one.
    lingering: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    next_lingering: AtomicU64,
}

/// One connection's permit; released when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    tracker: Arc<ConnectionTracker>,
    max_lingering: usize,
}

impl ConnectionTracker {
    pub(super) fn new(gauge: IntGauge) -> Self {
        Self {
            open: AtomicUsize::new(0),
            drained: Notify::new(),
            gauge,
            lingering: Mutex::default(),
            next_lingering: AtomicU64::new(0),
        }
    }

    /// A permit for one more connection. `None`: there are `max` already.
    pub(super) fn try_acquire(self: &Arc<Self>, max: usize) -> Option<ConnectionPermit> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= max {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        self.gauge.inc();
        Some(ConnectionPermit {
            tracker: self.clone(),
            max_lingering: (max / LINGERING_SHARE).clamp(1, MAX_LINGERING),
        })
    }

    /// Waits until the last connection has closed. Lingering connections are cut off after
    /// [`LINGER_TIMEOUT`].
    pub(super) async fn stop(&self) {
        if timeout(LINGER_TIMEOUT, self.drained()).await.is_err() {
            self.lingering().clear();
            self.drained().await;
        }
    }

    /// Waits until the last connection has closed.
    async fn drained(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            drained.await;
        }
    }

    fn lingering(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.lingering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a lingering connection, and closes the oldest where there would be more than
    /// `max`.
    fn linger(&self, max: usize) -> (u64, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let id = self.next_lingering.fetch_add(1, Ordering::Relaxed);
        let mut lingering = self.lingering();
        lingering.insert(id, sender);
        while lingering.len() > max {
            lingering.pop_first();
        }
        (id, evicted)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.tracker.gauge.dec();
        if self.tracker.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tracker.drained.notify_waiters();
        }
    }
}

/// Removes a connection from the lingering ones when dropped.
struct LingerGuard<'a>(&'a ConnectionTracker, u64);

impl Drop for LingerGuard<'_> {
    fn drop(&mut self) {
        self.0.lingering().remove(&self.1);
    }
}

/// A client's connection below TLS whose sending side we have shut down.
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ConnectionPermit {
    /// Reads on in a separate task, until the client closes its side or a limit is reached.
    /// `body_timeout`: longest time without a byte.
    pub(super) fn read_on(
        self: Arc<Self>,
        transport: Transport,
        unread: u64,
        body_timeout: Duration,
    ) {
        // There is no runtime while the process exits.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (id, evicted) = self.tracker.linger(self.max_lingering);
        runtime.spawn(async move {
            let _guard = LingerGuard(&self.tracker, id);
            let reading = async {
                match transport {
                    Transport::Tcp(stream) => discard(stream, unread, body_timeout).await,
                    Transport::Unix(stream) => discard(stream, unread, body_timeout).await,
                }
            };
            tokio::select! {
                biased;
                _ = evicted => {}
                () = reading => {}
            }
        });
    }
}

/// Reads and discards the announced bytes, then waits for the client to close its side.
async fn discard(mut connection: impl AsyncRead + Unpin, mut unread: u64, body_timeout: Duration) {
    let (start, mut received) = (Instant::now(), 0_u64);
    let mut buffer = vec![0; DISCARD_BUFFER];
    let mut silence = body_timeout;
    while unread > 0 && (unread != UNKNOWN_LENGTH || received < MAX_UNANNOUNCED) {
        let allowed = start + body_timeout + Duration::from_secs(received / MIN_BODY_RATE);
        let until = allowed.min(Instant::now() + silence);
        let max = usize::try_from(unread)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Ok(Ok(read @ 1..)) = timeout_at(until, connection.read(&mut buffer[..max])).await
        else {
            return;
        };
        received = received.saturating_add(read as u64);
        if unread == UNKNOWN_LENGTH {
            // This may be the end of the body; then only the client's close is waited for.
            silence = if buffer[..read].ends_with(LAST_CHUNK) {
                LINGER_TIMEOUT.min(body_timeout)
            } else {
                body_timeout
            };
        } else {
            unread -= read as u64;
        }
    }
    // All announced bytes have arrived, so whatever else comes is not read.
    drop(timeout(LINGER_TIMEOUT, connection.read(&mut buffer[..1])).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker() -> Arc<ConnectionTracker> {
        Arc::new(ConnectionTracker::new(
            IntGauge::new("open", "open").unwrap(),
        ))
    }

    #[test]
    fn the_oldest_of_those_that_read_on_makes_way() {
        let tracker = tracker();
        let (first, mut first_evicted) = tracker.linger(2);
        let (_, mut second_evicted) = tracker.linger(2);
        assert!(first_evicted.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let (third, mut third_evicted) = tracker.linger(2);
        assert!(first_evicted.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        // One that ends by itself makes room, so no other is evicted.
        drop(LingerGuard(&tracker, first));
        drop(LingerGuard(&tracker, third));
        let _fourth = tracker.linger(2);
        assert!(second_evicted.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        assert!(third_evicted.try_recv() == Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_quarter_of_the_connections_may_read_on() {
        for (max, expected) in [
            (1, 1),
            (4, 1),
            (8, 2),
            (10_000, 2500),
            (usize::MAX, MAX_LINGERING),
        ] {
            assert_eq!(tracker().try_acquire(max).unwrap().max_lingering, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_those_that_only_read_on() {
        let tracker = tracker();
        let permit = Arc::new(tracker.try_acquire(8).unwrap());
        let (_client, server) = tokio::net::UnixStream::pair().unwrap();
        permit.read_on(Transport::Unix(server), 1 << 40, Duration::from_mins(1));
        let start = Instant::now();
        tracker.stop().await;
        assert_eq!(start.elapsed(), LINGER_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn reading_on_ends_at_the_announced_length_and_with_the_slowest_speed() {
        const TIMEOUT: Duration = Duration::from_mins(1);
        // A client that sends nothing.
        let (_client, server) = tokio::io::duplex(1 << 20);
        let start = Instant::now();
        discard(server, 100, TIMEOUT).await;
        assert_eq!(start.elapsed(), TIMEOUT);
        // The announced length, and at most one byte more.
        let (mut client, mut server) = tokio::io::duplex(1 << 20);
        tokio::io::AsyncWriteExt::write_all(&mut client, &[0; 200])
            .await
            .unwrap();
        discard(&mut server, 100, TIMEOUT).await;
        drop(client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), 99);
        // What may be the last chunk.
        let (mut client, server) = tokio::io::duplex(1 << 20);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"2\r\nok\r\n0\r\n\r\n")
            .await
            .unwrap();
        let start = Instant::now();
        discard(server, UNKNOWN_LENGTH, TIMEOUT).await;
        assert_eq!(start.elapsed(), LINGER_TIMEOUT);
        // A byte every ten seconds is too slow, and 5,120 are not.
        for (bytes, expected) in [(1, TIMEOUT), (5120, Duration::from_secs(200))] {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    if tokio::io::AsyncWriteExt::write_all(&mut client, &vec![0; bytes])
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
            let start = Instant::now();
            discard(server, UNKNOWN_LENGTH, TIMEOUT).await;
            assert_eq!(start.elapsed(), expected, "{bytes}");
        }
    }
}

//! One worker's pool of idle HTTP/1 connections to backends.
//!
//! A connection stays on the worker that opened it, so reusing it wakes no other thread and needs
//! no system call. The most recently used one is taken first, so that the others can time out.
//!
//! Must stay true: a connection is reused only if the backend has neither closed it nor sent
//! anything on it, and only within its idle timeout; the pool never exceeds its capacity.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use pingora::protocols::Stream;
use tokio::{
    io::{AsyncRead, ReadBuf},
    task::coop::unconstrained,
    time::{Instant, interval},
};

/// Interval of removing closed and expired connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One worker's idle connections.
pub(super) struct IdleConnections {
    /// Oldest first. Only one thread uses it, so the lock is never contended.
    idle: Mutex<Vec<IdleConnection>>,
    capacity: usize,
}

struct IdleConnection {
    /// Key of the peer, see [`super::UpstreamPeer`].
    key: u64,
    stream: Stream,
    expires_at: Instant,
}

impl IdleConnections {
    pub(super) const fn new(capacity: usize) -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a usable connection to the peer with this key.
    pub(super) fn take(&self, key: u64) -> Option<Stream> {
        let mut idle = self.lock();
        while let Some(at) = idle.iter().rposition(|idle| idle.key == key) {
            let mut found = idle.remove(at);
            if Instant::now() < found.expires_at && is_quiet(&mut found.stream) {
                return Some(found.stream);
            }
        }
        None
    }

    /// Keeps a connection, on which both messages are complete, for at most `idle_timeout`.
    pub(super) fn put(&self, key: u64, stream: Stream, idle_timeout: Duration) {
        let mut idle = self.lock();
        idle.push(IdleConnection {
            key,
            stream,
            expires_at: Instant::now() + idle_timeout,
        });
        if idle.len() > self.capacity {
            idle.remove(0);
        }
    }

    /// Closes connections that have expired or that the backend has closed. Never returns.
    pub(super) async fn sweep(&self) {
        let mut ticks = interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            self.lock()
                .retain_mut(|idle| now < idle.expires_at && is_quiet(&mut idle.stream));
        }
    }
}

/// Whether nothing has arrived on a connection, not even its end.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    // Without tokio's cooperative budget: once that is used up, a read would always be pending.
    let mut read = pin!(unconstrained(poll_fn(
        |cx| Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut byte))
    )));
    read.as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// Both ends of a connection.
    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (
            Box::new(pingora::protocols::l4::stream::Stream::from(ours.unwrap())),
            theirs.unwrap().0,
        )
    }

    #[tokio::test]
    async fn the_connection_that_was_used_last_is_used_next() {
        let idle = IdleConnections::new(8);
        let ((a, _a), (b, _b), (other, _other)) = (pair().await, pair().await, pair().await);
        let (first, second) = (a.id(), b.id());
        idle.put(1, a, LONG);
        idle.put(1, b, LONG);
        idle.put(2, other, LONG);
        assert_eq!(idle.take(1).map(|stream| stream.id()), Some(second));
        assert_eq!(idle.take(1).map(|stream| stream.id()), Some(first));
        assert!(idle.take(1).is_none() && idle.take(2).is_some());
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_or_has_spoken_is_not_used() {
        let idle = IdleConnections::new(8);
        let ((closed, theirs), (spoken, mut speaks)) = (pair().await, pair().await);
        idle.put(1, closed, LONG);
        idle.put(1, spoken, LONG);
        drop(theirs);
        speaks.write_all(b"x").await.unwrap();
        // Until the runtime has seen both events, the connections still look usable.
        for _ in 0..100_000 {
            let Some(stream) = idle.take(1) else { return };
            idle.put(1, stream, LONG);
            tokio::task::yield_now().await;
        }
        panic!("it is used for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_its_time_and_no_longer() {
        let idle = IdleConnections::new(8);
        let (stream, _theirs) = pair().await;
        idle.put(1, stream, Duration::from_secs(5));
        let swept = tokio::time::timeout(Duration::from_secs(4), idle.sweep());
        assert!(swept.await.is_err() && idle.lock().len() == 1);
        let swept = tokio::time::timeout(Duration::from_secs(2), idle.sweep());
        assert!(swept.await.is_err() && idle.lock().is_empty());
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let idle = IdleConnections::new(2);
        let mut theirs = Vec::new();
        for key in 0..3 {
            let (ours, other) = pair().await;
            theirs.push(other);
            idle.put(key, ours, LONG);
        }
        assert!(idle.take(0).is_none() && idle.take(1).is_some() && idle.take(2).is_some());
        let none = IdleConnections::new(0);
        none.put(1, pair().await.0, LONG);
        assert!(none.take(1).is_none());
    }
}

//! A client's connection, as pingora wants to see it.
//!
//! Small writes are gathered, so that an answer's head and a short body leave in one system call. Nothing is held for reading:
//! an idle connection costs its write buffer and a task.
//!
//! Must stay true: whoever writes to a client that takes nothing is told so in time, whichever of pingora's or our own writes
//! it is; a connection that is ended lets the client read what it was told last.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    raw_connect::ProxyDigest,
};
use rustix::net::RecvFlags;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use super::connection_tracker::{ConnectionPermit, Duplicate, LINGER_TIMEOUT, UnreadBody};

/// Bytes of an answer that are gathered before they are sent.
const WRITE_BUFFER: usize = 4096;

/// Bytes that are read of a client that has announced none, once its connection is ended.
const MAX_LINGER_BYTES: usize = 16 << 20;

/// Bytes that TLS may need besides those that it carries, at least.
const TLS_ALLOWANCE: u64 = 16 * 1024;

/// A client's connection over TCP, with TLS or without, or a Unix socket.
#[derive(Debug)]
pub(super) struct Socket {
    io: BufWriter<Raw>,
    /// Longest time in which the client may take no bytes.
    patience: Duration,
    /// Runs while a write makes no progress.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What the client has announced of the present request's body and not sent yet.
    pub(super) unread: Arc<UnreadBody>,
    /// `None`: one connection too many.
    permit: Option<Arc<ConnectionPermit>>,
}

#[derive(Debug)]
pub(super) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Where only `&self` is at hand it takes reading to know what is there. The lock is free but for that, and never held
    /// while waiting.
    Tls(Box<Mutex<Secured>>),
}

/// A TLS session, and what had to be read of it too early.
#[derive(Debug)]
pub(super) struct Secured {
    stream: TlsStream<TcpStream>,
    early: Option<u8>,
}

impl Secured {
    pub(super) const fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, early: None }
    }

    /// Ready when there may be something to read. Bytes of the network may turn out to be none of the client's.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (tcp, session) = self.stream.get_ref();
        // A session that wants no bytes has some for us, or has come to its end.
        if self.early.is_some() || !session.wants_read() { Poll::Ready(Ok(())) } else { tcp.poll_read_ready(cx) }
    }

    /// As [`Socket::left`].
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.early.is_some() {
            return Poll::Ready(false);
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(true),
            Poll::Ready(Ok(())) => {
                self.early = buffer.filled().first().copied();
                Poll::Ready(self.early.is_none())
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.early.take() {
            Some(byte) if buf.remaining() > 0 => {
                buf.put_slice(&[byte]);
                Poll::Ready(Ok(()))
            }
            early => {
                self.early = early;
                Pin::new(&mut self.stream).poll_read(cx, buf)
            }
        }
    }
}

/// What only one task uses is whole whatever happened to it.
fn held(secured: &Mutex<Secured>) -> MutexGuard<'_, Secured> {
    secured.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned(secured: &mut Mutex<Secured>) -> &mut Secured {
    secured.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a connection with a reset, not in peace: for an answer that broke off where nothing but a peaceful end would tell that it is
/// whole. The connection ends when this has gone as well.
#[derive(Debug)]
pub(super) struct Breaker(OwnedFd);

impl Breaker {
    /// The end, when it comes, is a reset.
    pub(super) fn arm(&self) {
        // Where that fails the client is gone.
        let _ = rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }
}

impl Socket {
    pub(super) fn new(raw: Raw, patience: Duration, permit: Option<Arc<ConnectionPermit>>) -> Self {
        let unread = Arc::new(UnreadBody::none());
        Self { io: BufWriter::with_capacity(WRITE_BUFFER, raw), patience, stalled: None, unread, permit }
    }

    /// A second handle of the connection, below TLS. `None`: the system gives none.
    fn duplicate(&self) -> Option<Duplicate> {
        let duplicate = |socket: BorrowedFd<'_>| socket.try_clone_to_owned().ok();
        match self.io.get_ref() {
            Raw::Tcp(stream) => duplicate(stream.as_fd()).map(Duplicate::Tcp),
            Raw::Tls(secured) => duplicate(held(secured).stream.get_ref().0.as_fd()).map(Duplicate::Tcp),
            Raw::Unix(stream) => duplicate(stream.as_fd()).map(Duplicate::Unix),
        }
    }

    /// A way to end the connection with a reset, also when somebody else has it by then. `None`: there is none.
    pub(super) fn breaker(&self) -> Option<Breaker> {
        match self.duplicate()? {
            Duplicate::Tcp(socket) => Some(Breaker(socket)),
            Duplicate::Unix(_) => None,
        }
    }

    /// Bytes on the network of what is unread: with TLS it is wrapped in records.
    fn unread_on_the_wire(&self) -> u64 {
        match (self.unread.get(), self.io.get_ref()) {
            (0, _) => 0,
            (unread, Raw::Tls(_)) => unread.saturating_add(unread / 8).saturating_add(TLS_ALLOWANCE),
            (unread, Raw::Tcp(_) | Raw::Unix(_)) => unread,
        }
    }

    /// What a write came to, unless it has come to nothing for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether strangers on the way can read along.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.io.get_ref(), Raw::Tls(_))
    }

    /// Waits until there is something to read, or the end. With TLS there may be less than a byte: reading may wait on.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self.io.get_ref() {
            Raw::Tcp(stream) => stream.readable().await,
            Raw::Unix(stream) => stream.readable().await,
            Raw::Tls(secured) => poll_fn(|cx| held(secured).poll_readable(cx)).await,
        }
    }
}

impl Socket {
    /// Waits until the client's first bytes are these or are not, and leaves them to be read. Not for TLS.
    pub(super) async fn begins_with<const N: usize>(&self, wanted: &[u8; N]) -> bool {
        let mut seen = 0;
        loop {
            let mut bytes = [MaybeUninit::uninit(); N];
            let mut look = |socket: BorrowedFd<'_>| {
                let ((there, _), _) = rustix::net::recv(socket, &mut bytes, RecvFlags::PEEK)?;
                // No more than before is nothing: then wait for more instead of asking again.
                if there.len() == seen {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok((there.len(), *there == wanted[..there.len()]))
                }
            };
            let (ready, looked) = match self.io.get_ref() {
                Raw::Tcp(stream) => {
                    let ready = stream.ready(Interest::READABLE).await;
                    (ready, stream.try_io(Interest::READABLE, || look(stream.as_fd())))
                }
                Raw::Unix(stream) => {
                    let ready = stream.ready(Interest::READABLE).await;
                    (ready, stream.try_io(Interest::READABLE, || look(stream.as_fd())))
                }
                Raw::Tls(_) => return false,
            };
            match looked {
                Ok((length, true)) if length == N => return true,
                Ok((length, true)) => seen = length,
                // There may be more, unless the client has ended its side.
                Err(fault)
                    if fault.kind() == io::ErrorKind::WouldBlock && ready.is_ok_and(|ready| !ready.is_read_closed()) => {}
                Ok((_, false)) | Err(_) => return false,
            }
        }
    }

    /// Resolves when the client has ended the connection (`true`), or has sent something although it is not its turn
    /// (`false`), which stays to be read.
    pub(super) async fn left(&self) -> bool {
        if let Raw::Tls(secured) = self.io.get_ref() {
            return poll_fn(|cx| held(secured).poll_left(cx)).await;
        }
        loop {
            if self.readable().await.is_err() {
                return true;
            }
            let mut byte = [MaybeUninit::uninit(); 1];
            let peeked = match self.io.get_ref() {
                Raw::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(stream, &mut byte)),
                Raw::Unix(stream) => stream.try_io(Interest::READABLE, || peek(stream, &mut byte)),
                Raw::Tls(_) => return false,
            };
            match peeked {
                Ok(there) => return there == 0,
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
    }
}

fn peek(socket: impl AsFd, byte: &mut [MaybeUninit<u8>; 1]) -> io::Result<usize> {
    let ((there, _), _) = rustix::net::recv(socket, byte, RecvFlags::PEEK)?;
    Ok(there.len())
}

impl Raw {
    /// Whether bytes that were taken wait to be sent.
    fn has_unsent(&mut self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(secured) => owned(secured).stream.get_ref().1.wants_write(),
        }
    }
}

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(secured) => owned(secured).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(secured) => Pin::new(&mut owned(secured).stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(secured) => Pin::new(&mut owned(secured).stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(secured) => Pin::new(&mut owned(secured).stream).poll_shutdown(cx),
        }
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(secured) => Pin::new(&mut owned(secured).stream).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// Whoever waits for the client must not keep from it what is already written: half an answer, for one.
impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if !socket.io.buffer().is_empty() || socket.io.get_mut().has_unsent() {
            let flushed = Pin::new(&mut socket.io).poll_flush(cx);
            if let Poll::Ready(Err(fault)) = socket.in_time(cx, flushed) {
                return Poll::Ready(Err(fault));
            }
        }
        let before = buf.filled().len();
        let read = Pin::new(socket.io.get_mut()).poll_read(cx, buf);
        socket.unread.received(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.io).poll_write(cx, buf);
        socket.in_time(cx, written)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let flushed = Pin::new(&mut socket.io).poll_flush(cx);
        socket.in_time(cx, flushed)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let ended = Pin::new(&mut socket.io).poll_shutdown(cx);
        socket.in_time(cx, ended)
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.io).poll_write_vectored(cx, bufs);
        socket.in_time(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Ends our side and reads on for a little: closing with unread bytes would reset the connection, and the client might never see
/// the answer. A body that was announced is read on when the socket is dropped.
#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        let read_on = async {
            AsyncWriteExt::shutdown(self).await?;
            if self.unread.get() > 0 && self.permit.is_some() {
                return Ok(());
            }
            let (mut waste, mut left) = ([0; 8 * 1024], MAX_LINGER_BYTES);
            while left > 0 {
                match self.read(&mut waste).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            io::Result::Ok(())
        };
        // A client that is gone already is what we want; one that does not go is left.
        drop(timeout(LINGER_TIMEOUT, read_on).await);
    }
}

/// A client that is still sending a body that it announced is read on, in a task of its own, whichever task held the connection
/// last: nothing else waits for it.
impl Drop for Socket {
    fn drop(&mut self) {
        let unread = self.unread_on_the_wire();
        if unread == 0 {
            return;
        }
        if let (Some(permit), Some(connection)) = (&self.permit, self.duplicate()) {
            permit.read_on(connection, unread, self.patience);
        }
    }
}

impl UniqueID for Socket {
    fn id(&self) -> i32 {
        match self.io.get_ref() {
            Raw::Tcp(stream) => stream.as_raw_fd(),
            Raw::Unix(stream) => stream.as_raw_fd(),
            Raw::Tls(secured) => held(secured).stream.get_ref().0.as_raw_fd(),
        }
    }
}

impl Ssl for Socket {}
impl Peek for Socket {}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

/// The peer's address is ours to know ([`super::connection`]); pingora need not ask the system for it on each request.
impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

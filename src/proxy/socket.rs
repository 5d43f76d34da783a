//! A client's connection: TCP, with TLS or without, or a Unix socket.
//!
//! Nothing is held for reading or writing: an idle connection costs a task.
//!
//! Must stay true: a write to a client that takes nothing fails in time, whichever part of menshen
//! writes; a connection that is closed lets the client read what it was told last.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::RecvFlags,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use super::connection_tracker::{ConnectionPermit, LINGER_TIMEOUT, Transport, UNKNOWN_LENGTH};

/// Bytes that are read of a client that has announced none, once its connection is closed.
const MAX_LINGER_BYTES: usize = 16 << 20;

/// Bytes that TLS may need besides those that it carries, at least.
const TLS_ALLOWANCE: u64 = 16 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Socket {
    io: MaybeTls,
    /// Longest time in which the client may take no bytes.
    write_timeout: Duration,
    /// Runs while a write makes no progress.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// `None`: one connection too many.
    permit: Option<Arc<ConnectionPermit>>,
}

#[derive(Debug)]
pub(super) enum MaybeTls {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    pub(super) const fn new(
        io: MaybeTls,
        write_timeout: Duration,
        permit: Option<Arc<ConnectionPermit>>,
    ) -> Self {
        Self {
            io,
            write_timeout,
            write_timer: None,
            permit,
        }
    }

    /// Whether strangers on the way cannot read along.
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self.io, MaybeTls::Tls(_))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.io {
            MaybeTls::Tcp(stream) => stream.as_fd(),
            MaybeTls::Unix(stream) => stream.as_fd(),
            MaybeTls::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }

    /// Its end, when it comes, is a reset: for a response that broke off where nothing but a
    /// peaceful end would tell that it is whole.
    pub(super) fn reset_on_close(&self) {
        if !matches!(self.io, MaybeTls::Unix(_)) {
            // Where that fails the client is gone.
            let _ = rustix::net::sockopt::set_socket_linger(self.fd(), Some(Duration::ZERO));
        }
    }

    /// Whether the client has closed its side, although something that it sent before is still to
    /// be read.
    pub(super) fn closed_by_peer(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::RDHUP)];
        // Where the system cannot tell, reading will.
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// A second handle, to look at the connection while it is used. `None`: the system gives none.
    pub(super) fn watch(&self) -> Option<SocketWatch> {
        self.fd().try_clone_to_owned().ok().map(SocketWatch)
    }

    /// Waits until there is something to read, or the end. With TLS there may be less than a byte:
    /// reading may wait on.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.io {
            MaybeTls::Tcp(stream) => stream.readable().await,
            MaybeTls::Unix(stream) => stream.readable().await,
            MaybeTls::Tls(stream) => {
                let (tcp, session) = stream.get_ref();
                // A session that wants no bytes has some for us, or has come to its end.
                if session.wants_read() {
                    tcp.readable().await
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Waits until the client's first bytes are these or are not, and leaves them to be read. Not
    /// for TLS.
    pub(super) async fn peek_matches<const N: usize>(&self, wanted: &[u8; N]) -> bool {
        let mut seen = 0;
        loop {
            let mut bytes = [MaybeUninit::uninit(); N];
            let mut peek = |socket: BorrowedFd<'_>| {
                let ((there, _), _) = rustix::net::recv(socket, &mut bytes, RecvFlags::PEEK)?;
                // No more than before is nothing: then wait for more instead of asking again.
                if there.len() == seen {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok((there.len(), *there == wanted[..there.len()]))
                }
            };
            let (ready, peeked) = match &self.io {
                MaybeTls::Tcp(stream) => {
                    let ready = stream.ready(Interest::READABLE).await;
                    (
                        ready,
                        stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
                    )
                }
                MaybeTls::Unix(stream) => {
                    let ready = stream.ready(Interest::READABLE).await;
                    (
                        ready,
                        stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
                    )
                }
                MaybeTls::Tls(_) => return false,
            };
            match peeked {
                Ok((length, true)) if length == N => return true,
                Ok((length, true)) => seen = length,
                // There may be more, unless the client has ended its side.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && ready.is_ok_and(|ready| !ready.is_read_closed()) => {}
                Ok((_, false)) | Err(_) => return false,
            }
        }
    }

    /// Closes the connection in peace: ends our side, and reads on, since closing with unread bytes
    /// would reset the connection, and the client might never see the response (RFC 9112 section
    /// 9.6). `unread`: bytes that the client has announced and not sent; those are read in a task
    /// of their own.
    pub(super) async fn close(mut self, unread: u64) {
        let end = async {
            self.shutdown().await?;
            // Not in the task, where every connection would have the room for it all the time.
            let (mut discarded, mut left) = (vec![0; 8 * 1024], MAX_LINGER_BYTES);
            while unread == 0 && left > 0 {
                match self.read(&mut discarded).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            io::Result::Ok(())
        };
        // A client that is gone already is what we want; one that does not go is left.
        drop(timeout(LINGER_TIMEOUT, end).await);
        if unread > 0 {
            self.read_on(unread);
        }
    }

    /// Reads on in a task of its own, until what was announced has come or may take no longer.
    fn read_on(self, unread: u64) {
        let Some(permit) = self.permit else { return };
        // With TLS it is wrapped in records.
        let wrapped = unread
            .saturating_add(unread / 8)
            .saturating_add(TLS_ALLOWANCE);
        let (transport, unread) = match self.io {
            MaybeTls::Tcp(stream) => (Transport::Tcp(stream), unread),
            MaybeTls::Unix(stream) => (Transport::Unix(stream), unread),
            MaybeTls::Tls(stream) => (
                Transport::Tcp(stream.into_inner().0),
                if unread == UNKNOWN_LENGTH {
                    unread
                } else {
                    wrapped
                },
            ),
        };
        permit.read_on(transport, unread, self.write_timeout);
    }

    /// The result of a write, unless it has made no progress for too long.
    fn with_write_timeout<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let write_timeout = self.write_timeout;
        let write_timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        write_timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Looks at a connection that something else uses.
#[derive(Debug)]
pub(super) struct SocketWatch(OwnedFd);

impl SocketWatch {
    /// Whether the connection has failed, although something that was sent before is still to be
    /// read.
    pub(super) fn is_reset(&self) -> bool {
        // Errors are told without being asked for.
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

impl AsyncRead for MaybeTls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.io).poll_write(cx, buf);
        socket.with_write_timeout(cx, written)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let flushed = Pin::new(&mut socket.io).poll_flush(cx);
        socket.with_write_timeout(cx, flushed)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let ended = Pin::new(&mut socket.io).poll_shutdown(cx);
        socket.with_write_timeout(cx, ended)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.io).poll_write_vectored(cx, bufs);
        socket.with_write_timeout(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

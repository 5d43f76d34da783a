//! A client's connection: TCP, TLS over TCP, or a Unix socket.
//!
//! It has no read or write buffers of its own, so an idle connection costs only its task.
//!
//! Must stay true: a write that makes no progress fails in time, whichever part of menshen writes;
//! closing a connection lets the client read the last response.

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

/// Most bytes that are read and discarded while a connection without an announced body closes.
const MAX_LINGER_BYTES: usize = 16 << 20;

/// Least allowance for the overhead of TLS records, in bytes.
const TLS_ALLOWANCE: u64 = 16 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Socket {
    io: MaybeTls,
    /// Longest time that a write may make no progress.
    write_timeout: Duration,
    /// Set while a write makes no progress.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// `None`: a connection over the limit.
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

    /// Whether the connection is encrypted.
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

    /// Makes closing the connection reset it: for an incomplete response that only the end of the
    /// connection delimits, where an orderly close would mark it as complete.
    pub(super) fn reset_on_close(&self) {
        if !matches!(self.io, MaybeTls::Unix(_)) {
            // It fails only where the client has disconnected.
            let _ = rustix::net::sockopt::set_socket_linger(self.fd(), Some(Duration::ZERO));
        }
    }

    /// Whether the client has closed its side, even with unread bytes before that.
    pub(super) fn closed_by_peer(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::RDHUP)];
        // If the system cannot tell, the next read will.
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// A second handle, for checking the connection while it is borrowed. `None`: the system has no
    /// file descriptor left.
    pub(super) fn watch(&self) -> Option<SocketWatch> {
        self.fd().try_clone_to_owned().ok().map(SocketWatch)
    }

    /// Waits until there is something to read, or the end of the stream. With TLS a partial record
    /// may have arrived, on which a read still waits.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.io {
            MaybeTls::Tcp(stream) => stream.readable().await,
            MaybeTls::Unix(stream) => stream.readable().await,
            MaybeTls::Tls(stream) => {
                let (tcp, session) = stream.get_ref();
                // A session that wants no bytes has plaintext to read, or has ended.
                if session.wants_read() {
                    tcp.readable().await
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Waits until the client's first bytes are known to match or not, without consuming them.
    /// Always `false` with TLS.
    pub(super) async fn peek_matches<const N: usize>(&self, wanted: &[u8; N]) -> bool {
        let mut seen = 0;
        loop {
            let mut bytes = [MaybeUninit::uninit(); N];
            let mut peek = |socket: BorrowedFd<'_>| {
                let ((there, _), _) = rustix::net::recv(socket, &mut bytes, RecvFlags::PEEK)?;
                // No new bytes: wait for readiness instead of polling in a loop.
                if there.len() == seen {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok((there.len(), *there == wanted[..there.len()]))
                }
            };
            let readable = Interest::READABLE;
            let (ready, peeked) = match &self.io {
                MaybeTls::Tcp(stream) => (
                    stream.ready(readable).await,
                    stream.try_io(readable, || peek(stream.as_fd())),
                ),
                MaybeTls::Unix(stream) => (
                    stream.ready(readable).await,
                    stream.try_io(readable, || peek(stream.as_fd())),
                ),
                MaybeTls::Tls(_) => return false,
            };
            match peeked {
                Ok((length, true)) if length == N => return true,
                Ok((length, true)) => seen = length,
                // More may come, unless the client has closed its side.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && ready.is_ok_and(|ready| !ready.is_read_closed()) => {}
                Ok((_, false)) | Err(_) => return false,
            }
        }
    }

    /// Closes the connection in order: shuts down our side and reads on, since closing with unread
    /// bytes would reset the connection, and the client might never see the response (RFC 9112
    /// section 9.6). `unread`: announced bytes that have not arrived; they are read in a separate
    /// task.
    pub(super) async fn close(mut self, unread: u64) {
        let end = async {
            self.shutdown().await?;
            // On the heap, so that the task of every connection does not reserve memory for it.
            let (mut discarded, mut left) = (vec![0; 8 * 1024], MAX_LINGER_BYTES);
            while unread == 0 && left > 0 {
                match self.read(&mut discarded).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            io::Result::Ok(())
        };
        // An error or the timeout just drops the connection.
        drop(timeout(LINGER_TIMEOUT, end).await);
        if unread > 0 {
            self.read_on(unread);
        }
    }

    /// Reads on in a separate task, until the announced bytes have arrived or a limit is reached.
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

    /// The result of a write, or an error after `write_timeout` without progress.
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

/// Checks a connection that is borrowed elsewhere.
#[derive(Debug)]
pub(super) struct SocketWatch(OwnedFd);

impl SocketWatch {
    /// Whether the connection was reset, even with unread bytes before that.
    pub(super) fn is_reset(&self) -> bool {
        // `poll` reports errors without a flag for them.
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

impl MaybeTls {
    fn stream(&mut self) -> Pin<&mut dyn ByteStream> {
        match self {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Unix(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().io.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = socket.io.stream().poll_write(cx, buf);
        socket.with_write_timeout(cx, written)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let flushed = socket.io.stream().poll_flush(cx);
        socket.with_write_timeout(cx, flushed)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let ended = socket.io.stream().poll_shutdown(cx);
        socket.with_write_timeout(cx, ended)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = socket.io.stream().poll_write_vectored(cx, bufs);
        socket.with_write_timeout(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

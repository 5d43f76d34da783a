//! A client's connection, as pingora wants to see it.
//!
//! Small writes are gathered, so that an answer's head and a short body leave in one system call. Nothing is held for reading:
//! an idle connection costs its write buffer and a task.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    raw_connect::ProxyDigest,
};
use rustix::net::RecvFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// Bytes of an answer that are gathered before they are sent.
const WRITE_BUFFER: usize = 4096;

/// A client's connection over TCP or a Unix socket.
#[derive(Debug)]
pub(super) struct Socket(BufWriter<Raw>);

#[derive(Debug)]
pub(super) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn new(raw: Raw) -> Self {
        Self(BufWriter::with_capacity(WRITE_BUFFER, raw))
    }

    /// Waits until there is something to read, or the end.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self.0.get_ref() {
            Raw::Tcp(stream) => stream.readable().await,
            Raw::Unix(stream) => stream.readable().await,
        }
    }
}

impl Socket {
    /// Resolves when the client has ended the connection (`true`), or has sent something although it is not its turn
    /// (`false`), which stays to be read.
    pub(super) async fn left(&self) -> bool {
        loop {
            if self.readable().await.is_err() {
                return true;
            }
            let mut byte = [MaybeUninit::uninit(); 1];
            let peeked = match self.0.get_ref() {
                Raw::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(stream, &mut byte)),
                Raw::Unix(stream) => stream.try_io(Interest::READABLE, || peek(stream, &mut byte)),
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

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
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
        if !socket.0.buffer().is_empty()
            && let Poll::Ready(Err(fault)) = Pin::new(&mut socket.0).poll_flush(cx)
        {
            return Poll::Ready(Err(fault));
        }
        Pin::new(socket.0.get_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        // The client may be gone already, which is what we want.
        drop(AsyncWriteExt::shutdown(self).await);
    }
}

impl UniqueID for Socket {
    fn id(&self) -> i32 {
        match self.0.get_ref() {
            Raw::Tcp(stream) => stream.as_raw_fd(),
            Raw::Unix(stream) => stream.as_raw_fd(),
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

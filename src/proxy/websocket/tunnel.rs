//! Relays a WebSocket after its handshake, until a side ends it, both are idle for too long, or
//! menshen has to close it.
//!
//! It does not use the relay of HTTP messages
//! (`docs/decisions/0011-streams-end-with-their-session.md`): a backend's bytes may arrive with its
//! 101 or at any time after it, and a handshake has no body to wait for.
//!
//! Must stay true: no byte is lost, changed or held back; each side is read only as fast as the
//! other accepts bytes; menshen's Close frame comes between two of the backend's frames, never
//! within one; an idle WebSocket holds no buffers.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split},
    time::{Instant, sleep, timeout},
};

use super::frames::{self, Frames};
use crate::proxy::streams::{CloseReason, OpenStream};

/// Bytes that are read at once, in one direction.
const READ_SIZE: usize = 16 * 1024;

/// How often to check for a disconnect of a client from which nothing is read.
const DEPARTURE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How long the rest of a frame and the Close frame may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one side may be idle once the other has closed its own, enough for the closing
/// handshake.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_mins(1);

/// One direction.
struct Direction<R, W> {
    from: ReadHalf<R>,
    to: WriteHalf<W>,
    /// Bytes that were read and not written.
    waiting: Bytes,
    unflushed: bool,
    frames: Frames,
    /// The sender has closed its side.
    ended: bool,
    /// The receiver's side has not been shut down.
    open: bool,
    /// Bytes that were passed on.
    moved: u64,
}

/// Why a tunnel ended, and how many bytes it passed on.
pub(in crate::proxy) struct TunnelEnd {
    pub(in crate::proxy) reason: CloseReason,
    /// Bytes from the client.
    pub(in crate::proxy) received: u64,
    /// Bytes from the backend.
    pub(in crate::proxy) sent: u64,
}

/// Result of one step.
enum Step {
    Moved,
    /// The sender has closed its side.
    End,
}

/// Relays both directions to their end. `is_reset`: whether the client's connection was reset,
/// checked without reading. `early`: bytes that the backend sent with its 101. `idle`: longest time
/// without a byte in either direction. The caller closes the client's connection.
pub(in crate::proxy) async fn run<C, B>(
    client: C,
    is_reset: impl Fn() -> bool,
    backend: B,
    early: Bytes,
    idle: Duration,
    open: &OpenStream,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (client_in, client_out) = split(client);
    let (backend_in, backend_out) = split(backend);
    let mut up = Direction::new(client_in, backend_out, Bytes::new());
    let mut down = Direction::new(backend_in, client_out, early);
    let reason = relay(&mut up, &mut down, is_reset, idle, open).await;
    open.end(reason);
    let code = match reason {
        CloseReason::Closed => None,
        // RFC 6455 section 7.4.1 and its registry: going away, policy violation, service restart.
        CloseReason::Idle => Some(1001),
        CloseReason::Revoked | CloseReason::SessionExpired | CloseReason::TokenExpired => {
            Some(1008)
        }
        CloseReason::Stopping => Some(1012),
    };
    if let Some(code) = code {
        // If the client does not read it in time, the connection just closes.
        let frame = frames::close(code, reason.as_str());
        drop(timeout(CLOSE_TIMEOUT, down.send_close(&frame)).await);
    }
    TunnelEnd {
        reason,
        received: up.moved,
        sent: down.moved,
    }
}

async fn relay<C, B>(
    up: &mut Direction<C, B>,
    down: &mut Direction<B, C>,
    is_reset: impl Fn() -> bool,
    idle: Duration,
    open: &OpenStream,
) -> CloseReason
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut idle_timeout = idle;
    let mut last = Instant::now();
    let mut timer = pin!(sleep(idle_timeout));
    while up.open || down.open {
        // In random order, so that a busy side does not starve the other.
        let moved = tokio::select! {
            close_reason = open.closed() => return close_reason,
            () = timer.as_mut() => {
                if last.elapsed() >= idle_timeout {
                    return CloseReason::Idle;
                }
                timer.as_mut().reset(last + idle_timeout);
                continue;
            }
            // The client is not read from while the backend accepts no bytes.
            () = sleep(DEPARTURE_CHECK_INTERVAL), if !up.waiting.is_empty() => {
                if is_reset() {
                    return CloseReason::Closed;
                }
                continue;
            }
            moved = up.step(usize::MAX), if up.open => moved,
            moved = down.step(usize::MAX), if down.open => moved,
        };
        last = Instant::now();
        match moved {
            Ok(Step::Moved) => {}
            Ok(Step::End) => {
                idle_timeout = idle_timeout.min(HALF_CLOSED_TIMEOUT);
                timer.as_mut().reset(last + idle_timeout);
            }
            // One side has failed, so the other is closed, too.
            Err(_) => return CloseReason::Closed,
        }
    }
    CloseReason::Closed
}

impl<R, W> Direction<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    fn new(from: ReadHalf<R>, to: WriteHalf<W>, waiting: Bytes) -> Self {
        Self {
            from,
            to,
            waiting,
            unflushed: false,
            frames: Frames::default(),
            ended: false,
            open: true,
            moved: 0,
        }
    }

    /// Passes on at most `max` bytes. Cancel-safe.
    async fn step(&mut self, max: usize) -> io::Result<Step> {
        if self.waiting.is_empty() && !self.ended {
            if self.unflushed {
                self.to.flush().await?;
                self.unflushed = false;
            }
            self.waiting = read(&mut self.from).await?;
            self.ended = self.waiting.is_empty();
        }
        if self.ended {
            self.to.shutdown().await?;
            self.open = false;
            return Ok(Step::End);
        }
        let part = &self.waiting[..self.waiting.len().min(max)];
        let written = self.to.write(part).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.moved += written as u64;
        self.frames.advance(&part[..written]);
        self.waiting.advance(written);
        if self.waiting.is_empty() {
            // Frees its memory.
            self.waiting = Bytes::new();
        }
        Ok(Step::Moved)
    }

    /// Passes on the rest of the current frame and writes another one.
    async fn send_close(&mut self, frame: &[u8]) -> io::Result<()> {
        if !self.open {
            return Ok(());
        }
        while self.frames.remaining() > 0 {
            if let Step::End = self.step(self.frames.remaining()).await? {
                return Ok(());
            }
        }
        self.to.write_all(frame).await?;
        self.to.flush().await
    }
}

/// Reads the available bytes; empty at the end. Holds no buffer while it waits.
async fn read<R: AsyncRead>(from: &mut ReadHalf<R>) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut space = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut part = ReadBuf::uninit(&mut space);
        let read = Pin::new(&mut *from).poll_read(cx, &mut part);
        read.map_ok(|()| Bytes::copy_from_slice(part.filled()))
    })
    .await
}

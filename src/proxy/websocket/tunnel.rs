//! A WebSocket after its handshake: bytes both ways, until a side ends it, both are silent too
//! long, or it has to end.
//!
//! We carry it ourselves (`docs/decisions/0011-streams-end-with-their-session.md`): a backend's
//! bytes may come with its 101 or at any time after it, and nothing waits for a body that a
//! handshake does not have.
//!
//! Must stay true: no byte is lost, changed or held back; each side is read only as fast as the
//! other takes it; a frame of ours stands between two of the backend's, never within one; a quiet
//! WebSocket holds no buffers.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::Poll,
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

/// How often it is looked whether a client is still there of which nothing is read.
const DEPARTURE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How long the rest of a frame is waited for when the stream has to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one side may be silent once the other has ended its own: the closing handshake has its
/// answer by then.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_mins(1);

/// One direction.
struct Direction<R, W> {
    from: ReadHalf<R>,
    to: WriteHalf<W>,
    /// What was read and is not yet written.
    waiting: Bytes,
    unflushed: bool,
    frames: Frames,
    /// Its sender has sent all.
    ended: bool,
    /// Its receiver has not been told so.
    open: bool,
    /// Bytes that have gone on.
    moved: u64,
}

/// What a tunnel has carried, and why it ended.
pub(in crate::proxy) struct TunnelEnd {
    pub(in crate::proxy) reason: CloseReason,
    /// Bytes of the client.
    pub(in crate::proxy) received: u64,
    /// Bytes of the backend.
    pub(in crate::proxy) sent: u64,
}

/// What one step came to.
enum Step {
    Moved,
    /// Nothing more comes from this side.
    End,
}

/// Carries both directions to their end. `early`: what the backend sent together with its 101.
/// `idle`: longest silence of both. The client's connection is left to be closed. `is_reset` says
/// whether the client's connection has failed, although nothing is read of it.
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
        // A client that does not take it in time finds the connection ended.
        drop(
            timeout(
                CLOSE_TIMEOUT,
                down.send_close(&frames::close(code, reason.as_str())),
            )
            .await,
        );
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
        // In no fixed order: a side that always has something to say must not keep the other
        // waiting.
        let moved = tokio::select! {
            close_reason = open.closed() => return close_reason,
            () = timer.as_mut() => {
                if last.elapsed() >= idle_timeout {
                    return CloseReason::Idle;
                }
                timer.as_mut().reset(last + idle_timeout);
                continue;
            }
            // The client is not read while the backend takes nothing of it.
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
            // One side is gone, so the other has nobody to talk to.
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

    /// Moves something on, at most so many bytes. Dropped while it waits, it has lost nothing.
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
            // Its memory goes, too.
            self.waiting = Bytes::new();
        }
        Ok(Step::Moved)
    }

    /// Brings the frame under way to its end and writes one more.
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

/// What there is, as soon as there is something; empty at the end. Until then no memory is held for
/// it.
async fn read<R: AsyncRead>(from: &mut ReadHalf<R>) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut space = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut part = ReadBuf::uninit(&mut space);
        match Pin::new(&mut *from).poll_read(cx, &mut part) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(part.filled()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

//! A WebSocket after its handshake: bytes both ways, until a side ends it, both are silent too long, or it has to end.
//!
//! We carry it ourselves (`docs/decisions/0011-streams-end-with-their-session.md`): a backend's bytes may come with its 101 or
//! at any time after it, and nothing waits for a body that a handshake does not have.
//!
//! Must stay true: no byte is lost, changed or held back; each side is read only as fast as the other takes it; a frame of
//! ours stands between two of the backend's, never within one; a quiet WebSocket holds no buffers.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::{Buf, Bytes};
use pingora::protocols::{Shutdown, Stream};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split},
    time::{Instant, sleep, timeout},
};

use super::{
    frames::{self, Frames},
    streams::{Ending, OpenStream},
};

/// Bytes that are read at once, in one direction.
const PART: usize = 16 * 1024;

/// How long the rest of a frame is waited for when the stream has to end.
const REST_OF_FRAME: Duration = Duration::from_secs(1);

/// How long one side may be silent once the other has ended its own: the closing handshake has its answer by then.
const HALF_CLOSED: Duration = Duration::from_mins(1);

/// One direction.
struct Direction {
    from: ReadHalf<Stream>,
    to: WriteHalf<Stream>,
    /// What was read and is not yet written.
    waiting: Bytes,
    unflushed: bool,
    frames: Frames,
    /// Its sender has sent all.
    ended: bool,
    /// Its receiver has not been told so.
    open: bool,
}

/// What one step came to.
enum Step {
    Moved,
    /// Nothing more comes from this side.
    End,
}

/// Carries both directions to their end. `early`: what the backend sent together with its 101. `idle`: longest silence of both.
pub(super) async fn carry(client: Stream, backend: Stream, early: Bytes, idle: Duration, open: &OpenStream) {
    let (client_in, client_out) = split(client);
    let (backend_in, backend_out) = split(backend);
    let mut up = Direction::new(client_in, backend_out, Bytes::new());
    let mut down = Direction::new(backend_in, client_out, early);
    let ending = both_ways(&mut up, &mut down, idle, open).await;
    open.end(ending);
    let code = match ending {
        Ending::Closed => None,
        // RFC 6455 section 7.4.1 and its registry: going away, policy violation, service restart.
        Ending::Idle => Some(1001),
        Ending::Revoked | Ending::SessionOver | Ending::TokenOver => Some(1008),
        Ending::Stopping => Some(1012),
    };
    if let Some(code) = code {
        // Whoever does not take it in time finds the connection ended.
        drop(timeout(REST_OF_FRAME, down.say_goodbye(&frames::close(code, ending.as_str()))).await);
    }
    let Direction { from: client_in, to: backend_out, .. } = up;
    let Direction { from: backend_in, to: client_out, .. } = down;
    drop(backend_in.unsplit(backend_out));
    Shutdown::shutdown(&mut *client_in.unsplit(client_out)).await;
}

async fn both_ways(up: &mut Direction, down: &mut Direction, idle: Duration, open: &OpenStream) -> Ending {
    let mut patience = idle;
    let mut last = Instant::now();
    let mut timer = pin!(sleep(patience));
    while up.open || down.open {
        // In no fixed order: a side that always has something to say must not keep the other waiting.
        let moved = tokio::select! {
            ending = open.ended() => return ending,
            () = timer.as_mut() => {
                if last.elapsed() >= patience {
                    return Ending::Idle;
                }
                timer.as_mut().reset(last + patience);
                continue;
            }
            moved = up.step(usize::MAX), if up.open => moved,
            moved = down.step(usize::MAX), if down.open => moved,
        };
        last = Instant::now();
        match moved {
            Ok(Step::Moved) => {}
            Ok(Step::End) => {
                patience = patience.min(HALF_CLOSED);
                timer.as_mut().reset(last + patience);
            }
            // One side is gone, so the other has nobody to talk to.
            Err(_) => return Ending::Closed,
        }
    }
    Ending::Closed
}

impl Direction {
    fn new(from: ReadHalf<Stream>, to: WriteHalf<Stream>, waiting: Bytes) -> Self {
        Self { from, to, waiting, unflushed: false, frames: Frames::default(), ended: false, open: true }
    }

    /// Moves something on, at most so many bytes. Dropped while it waits, it has lost nothing.
    async fn step(&mut self, most: usize) -> io::Result<Step> {
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
        let part = &self.waiting[..self.waiting.len().min(most)];
        let written = self.to.write(part).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.frames.pass(&part[..written]);
        self.waiting.advance(written);
        if self.waiting.is_empty() {
            // Its memory goes, too.
            self.waiting = Bytes::new();
        }
        Ok(Step::Moved)
    }

    /// Brings the frame under way to its end and writes one more.
    async fn say_goodbye(&mut self, frame: &[u8]) -> io::Result<()> {
        if !self.open {
            return Ok(());
        }
        while self.frames.owed() > 0 {
            if let Step::End = self.step(self.frames.owed()).await? {
                return Ok(());
            }
        }
        self.to.write_all(frame).await?;
        self.to.flush().await
    }
}

/// What there is, as soon as there is something; empty at the end. Until then no memory is held for it.
async fn read(from: &mut ReadHalf<Stream>) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut space = [const { MaybeUninit::uninit() }; PART];
        let mut part = ReadBuf::uninit(&mut space);
        match Pin::new(&mut *from).poll_read(cx, &mut part) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(part.filled()))),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

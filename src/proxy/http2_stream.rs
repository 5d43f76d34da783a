//! Sends a body on an HTTP/2 stream, to a client or to a backend.
//!
//! The library accepts bytes at once and writes them as flow control allows; [`Unsent`] counts
//! those that it still holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use h2::{Reason, SendStream};

/// Sends as much of the front of `part`, which is not empty, as flow control allows, and returns
/// the number of bytes sent. `copy`: makes the copy that the library keeps.
///
/// # Errors
/// When the stream is closed.
pub(super) fn poll_send(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    part: &[u8],
    copy: impl FnOnce(&[u8]) -> Bytes,
) -> Poll<Result<usize, h2::Error>> {
    stream.reserve_capacity(part.len());
    loop {
        let length = stream.capacity().min(part.len());
        if length > 0 {
            let sent = stream.send_data(copy(&part[..length]), false);
            return Poll::Ready(sent.map(|()| length));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
}

/// Counts the bytes of a stream that the library holds. A response is complete only when there are
/// none: until then they use memory, and closing the connection would lose them.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    bytes: AtomicUsize,
    waker: AtomicWaker,
}

impl Unsent {
    /// A copy of `part` that is counted until the library has written or dropped it.
    pub(super) fn copy(self: &Arc<Self>, part: &[u8]) -> Bytes {
        self.bytes.fetch_add(part.len(), Ordering::Relaxed);
        Bytes::from_owner(CountedBytes {
            bytes: part.into(),
            unsent: Arc::clone(self),
        })
    }

    /// Resolves when the library holds none. Only one task may wait.
    pub(super) fn poll_none(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.bytes.load(Ordering::Acquire) == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

struct CountedBytes {
    bytes: Box<[u8]>,
    unsent: Arc<Unsent>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        let length = self.bytes.len();
        if self.unsent.bytes.fetch_sub(length, Ordering::AcqRel) == length {
            self.unsent.waker.wake();
        }
    }
}

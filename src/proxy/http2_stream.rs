//! Sending a body on a stream of HTTP/2, towards a client or a backend.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};

/// Sends from the front of `part`, which is not empty, as much as the other side takes; says how many bytes went.
///
/// # Errors
/// When the stream takes no more.
pub(super) fn poll_send(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    part: &[u8],
) -> Poll<Result<usize, h2::Error>> {
    stream.reserve_capacity(part.len());
    loop {
        let length = stream.capacity().min(part.len());
        if length > 0 {
            let sent = stream.send_data(Bytes::copy_from_slice(&part[..length]), false);
            return Poll::Ready(sent.map(|()| length));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
}

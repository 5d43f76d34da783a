//! The client's side of one request, over HTTP/1 or HTTP/2: reads the request's body and writes the
//! response.
//!
//! Must stay true: no part of a body is read before the previous one has been passed on; no byte of
//! a response is written before the previous one is complete; a client's trailers are not
//! forwarded.

mod http1;
mod http2;

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::Method;
use tokio::time::timeout;

use super::{
    failure::ClientError, local_response::LocalResponse, message::BodyPart,
    response_head::ResponseHead, socket::Socket,
};
use crate::http1::{BodyLength, Trailers};

pub(super) use http1::{Http1Client, RequestFraming};
pub(super) use http2::Http2Client;

/// Why a request body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyReadError {
    TooLarge,
    TimedOut,
    /// The connection ended within it, or its framing is invalid.
    Incomplete,
}

/// The client of one request.
pub(super) trait Client {
    const IS_HTTP2: bool;

    /// Waits for the next part of the request's body.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPart, ClientError>>;

    /// What has not been consumed of the last part.
    fn part(&self) -> &[u8];

    /// Marks `length` bytes of the part as passed on.
    fn consume(&mut self, length: usize);

    /// Bytes of the request's body that were passed on.
    fn received(&self) -> u64;

    /// Whether the client may be waiting for `100 Continue`: none was sent, and no byte of the body
    /// has arrived.
    fn awaits_continue(&self) -> bool;

    /// Resolves when the client disconnects or resets the stream. HTTP/1: only once its whole
    /// request has been read.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Sends an informational response, if the client's protocol version has them (RFC 9110 section
    /// 15.2).
    fn send_informational(&mut self, head: ResponseHead<'_>);

    /// Sends `100 Continue`.
    fn send_continue(&mut self);

    /// Starts the response. `length`: how the backend frames the body. `is_complete`: neither body
    /// nor trailers follow. `reads_on`: the backend reads the rest of the request.
    fn send_head(
        &mut self,
        head: ResponseHead<'_>,
        length: BodyLength,
        is_complete: bool,
        reads_on: bool,
    ) -> Result<(), ClientError>;

    /// Sends from the front of `part`, which is not empty, and returns the number of bytes sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, part: &[u8]) -> Poll<Result<usize, ClientError>>;

    /// Ends the response, with trailers if the client accepts them.
    fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), ClientError>;

    /// Flushes buffered bytes. For a complete response it waits until all of it has been written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>>;

    /// Aborts an incomplete response, so that the client does not take it for a complete one.
    fn abort(&mut self, reason: Reason);

    /// Sends a local response to a request with this method.
    async fn respond(
        &mut self,
        method: &Method,
        response: LocalResponse,
    ) -> Result<(), ClientError>;

    /// Puts the 101 head of a WebSocket (HTTP/1).
    fn send_upgrade(&mut self, _head: ResponseHead<'_>) {}

    /// The connection itself, which a WebSocket has to itself (HTTP/1).
    fn socket(&mut self) -> Option<&mut Socket> {
        None
    }

    /// Counts the request as reset by the client (HTTP/2).
    fn count_reset(&mut self) {}

    /// Whether the client has closed its connection, checked without reading. On HTTP/2 the library
    /// reports a reset.
    fn is_closed_by_peer(&self) -> bool {
        false
    }

    /// Whether a disconnect can only be noticed by checking the socket, because nothing is read
    /// from it.
    fn needs_close_polling(&self) -> bool {
        false
    }

    /// Whether the request is a gRPC call, which gets rejections in gRPC's form.
    fn is_grpc(&self) -> bool {
        false
    }

    /// Whether bytes have arrived after the request (HTTP/1).
    fn has_pipelined_input(&self) -> bool {
        false
    }

    /// Closes the connection after this request (HTTP/1).
    fn disable_keep_alive(&mut self) {}

    /// Stops waiting for the rest of the request's body.
    fn abandon_body(&mut self) {}

    /// Reads the whole body of a request, of at most `max` bytes.
    async fn read_body(
        &mut self,
        max: usize,
        length: BodyLength,
        time: Duration,
    ) -> Result<Bytes, BodyReadError> {
        match length {
            BodyLength::None => return Ok(Bytes::new()),
            BodyLength::Known(length) if length > max as u64 => {
                return Err(BodyReadError::TooLarge);
            }
            BodyLength::Known(_) | BodyLength::Chunked | BodyLength::UntilClose => {}
        }
        if self.awaits_continue() {
            self.send_continue();
        }
        let mut body = BytesMut::new();
        let reading = async {
            poll_fn(|cx| self.poll_flush(cx))
                .await
                .map_err(|_| BodyReadError::Incomplete)?;
            while poll_fn(|cx| self.poll_part(cx))
                .await
                .map_err(|_| BodyReadError::Incomplete)?
                == BodyPart::Data
            {
                let part = self.part();
                if body.len() + part.len() > max {
                    return Err(BodyReadError::TooLarge);
                }
                body.extend_from_slice(part);
                let length = part.len();
                self.consume(length);
            }
            Ok(())
        };
        let read = timeout(time, reading)
            .await
            .unwrap_or(Err(BodyReadError::TimedOut));
        if read == Err(BodyReadError::TimedOut) {
            self.abandon_body();
        }
        read.map(|()| body.freeze())
    }
}

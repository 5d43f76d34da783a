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
    response_head::ResponseHead,
};
use crate::http1::{BodyLength, Trailers};

pub(super) use http1::{Http1Client, RequestFraming};
pub(super) use http2::Http2Client;

/// The client of one request.
#[derive(Debug)]
pub(super) enum Client<'c> {
    Http1(&'c mut Http1Client),
    Http2(&'c mut Http2Client),
}

/// Why a request body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyReadError {
    TooLarge,
    TimedOut,
    /// The connection ended within it, or its framing is invalid.
    Incomplete,
}

impl Client<'_> {
    /// Waits for the next part of the request's body.
    pub(super) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BodyPart, ClientError>> {
        match self {
            Self::Http1(client) => client.poll_part(cx),
            Self::Http2(client) => client.poll_part(cx),
        }
    }

    /// What has not been consumed of the last part.
    pub(super) fn part(&self) -> &[u8] {
        match self {
            Self::Http1(client) => client.part(),
            Self::Http2(client) => client.part(),
        }
    }

    /// Marks `length` bytes of the part as passed on.
    pub(super) fn consume(&mut self, length: usize) {
        match self {
            Self::Http1(client) => client.consume(length),
            Self::Http2(client) => client.consume(length),
        }
    }

    /// Whether the client may be waiting for `100 Continue`: none was sent, and no byte of the body
    /// has arrived.
    pub(super) fn awaits_continue(&self) -> bool {
        match self {
            Self::Http1(client) => client.awaits_continue(),
            Self::Http2(client) => client.awaits_continue(),
        }
    }

    /// Resolves when the client disconnects or resets the stream. HTTP/1: only once its whole
    /// request has been read.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(client) => client.poll_closed(cx),
            Self::Http2(client) => client.poll_reset(cx),
        }
    }

    /// Sends an informational response, if the client's protocol version has them (RFC 9110 section
    /// 15.2).
    pub(super) fn send_informational(&mut self, head: ResponseHead<'_>) {
        match self {
            Self::Http1(client) => client.send_informational(head),
            Self::Http2(client) => client.send_informational(head),
        }
    }

    /// Sends `100 Continue`.
    pub(super) fn send_continue(&mut self) {
        match self {
            Self::Http1(client) => client.send_continue(),
            Self::Http2(client) => client.send_continue(),
        }
    }

    /// Starts the response. `length`: how the backend frames the body. `is_complete`: neither body
    /// nor trailers follow. `reads_on`: the backend reads the rest of the request.
    pub(super) fn send_head(
        &mut self,
        head: ResponseHead<'_>,
        length: BodyLength,
        is_complete: bool,
        reads_on: bool,
    ) -> Result<(), ClientError> {
        match self {
            Self::Http1(client) => {
                client.send_head(head, length, reads_on);
                Ok(())
            }
            Self::Http2(client) => client.send_head(head, length, is_complete),
        }
    }

    /// Sends from the front of `part`, which is not empty, and returns the number of bytes sent.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        part: &[u8],
    ) -> Poll<Result<usize, ClientError>> {
        match self {
            Self::Http1(client) => client.poll_send(cx, part),
            Self::Http2(client) => client.poll_send(cx, part),
        }
    }

    /// Ends the response, with trailers if the client accepts them.
    pub(super) fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), ClientError> {
        match self {
            Self::Http1(client) => client.finish(trailers),
            Self::Http2(client) => client.finish(trailers),
        }
    }

    /// Flushes buffered bytes. For a complete response it waits until all of it has been written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        match self {
            Self::Http1(client) => client.poll_flush(cx),
            // The connection's own task writes.
            Self::Http2(client) => client.poll_flush(cx),
        }
    }

    /// Aborts an incomplete response, so that the client does not take it for a complete one.
    pub(super) fn abort(&mut self, reason: Reason) {
        match self {
            Self::Http1(client) => client.abort(),
            Self::Http2(client) => client.abort(reason),
        }
    }

    /// Counts the request as reset by the client (HTTP/2).
    pub(super) fn count_reset(&mut self) {
        if let Self::Http2(client) = self {
            client.count_reset();
        }
    }

    /// Whether the client has closed its connection, checked without reading.
    pub(super) fn is_closed_by_peer(&self) -> bool {
        match self {
            Self::Http1(client) => client.socket.closed_by_peer(),
            // The library reports a reset.
            Self::Http2(_) => false,
        }
    }

    /// Whether a disconnect can only be noticed by checking the socket, because nothing is read
    /// from it.
    pub(super) fn needs_close_polling(&self) -> bool {
        match self {
            Self::Http1(client) => !client.is_request_complete() || client.needs_close_polling(),
            Self::Http2(_) => false,
        }
    }

    /// Whether the request is a gRPC call, which gets rejections in gRPC's form.
    pub(super) fn is_grpc(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(client) => client.is_grpc,
        }
    }

    pub(super) const fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Whether bytes have arrived after the request (HTTP/1).
    pub(super) fn has_pipelined_input(&self) -> bool {
        match self {
            Self::Http1(client) => client.has_pipelined_input(),
            Self::Http2(_) => false,
        }
    }

    /// Closes the connection after this request (HTTP/1).
    pub(super) fn disable_keep_alive(&mut self) {
        if let Self::Http1(client) = self {
            client.disable_keep_alive();
        }
    }

    /// Stops waiting for the rest of the request's body.
    pub(super) fn abandon_body(&mut self) {
        if let Self::Http1(client) = self {
            client.abandon_body();
        }
    }

    /// Bytes of the request's body that were passed on.
    pub(super) fn received(&self) -> u64 {
        match self {
            Self::Http1(client) => client.received,
            Self::Http2(client) => client.received,
        }
    }

    /// Reads the whole body of a request, of at most `max` bytes.
    pub(super) async fn read_body(
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

    /// Sends a local response to a request with this method.
    pub(super) async fn respond(
        &mut self,
        method: &Method,
        response: LocalResponse,
    ) -> Result<(), ClientError> {
        match self {
            Self::Http1(client) => client.respond(method, &response).await,
            Self::Http2(client) => client.respond(method, response).await,
        }
    }
}

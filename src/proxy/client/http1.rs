//! A client's HTTP/1 connection and the request on it.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::{Method, StatusCode};
use tokio::{io::AsyncReadExt, time::timeout};

use super::Client;
use crate::{
    http1::{BodyLength, Peer, Trailers},
    policy::HttpVersion,
    proxy::{
        connection_tracker::{LINGER_TIMEOUT, UNKNOWN_LENGTH},
        failure::ClientError,
        local_response::LocalResponse,
        message::{
            BodyPart, MessageReadError, MessageReader, MessageWriter, put, put_content_length,
            put_field, put_status_line,
        },
        response_head::ResponseHead,
        socket::Socket,
    },
};

/// Longest body, in bytes, whose rest is discarded so that the connection survives a rejection.
const MAX_DRAIN: u64 = 16 * 1024;
/// Most bytes that are read ahead of the current request. Beyond that a disconnect is noticed only
/// by checking the socket.
const MAX_PIPELINED: usize = 8 * 1024;

/// What a request head says about the message and the connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct RequestFraming {
    pub(in crate::proxy) version: HttpVersion,
    pub(in crate::proxy) body: BodyLength,
    /// The connection stays open after the response.
    pub(in crate::proxy) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(in crate::proxy) expects_continue: bool,
    pub(in crate::proxy) takes_trailers: bool,
}

impl RequestFraming {
    /// For a request after which the connection closes, because its end is in doubt.
    pub(in crate::proxy) const fn closing(version: HttpVersion) -> Self {
        Self {
            version,
            body: BodyLength::None,
            keep_alive: false,
            expects_continue: false,
            takes_trailers: false,
        }
    }
}

/// A client of HTTP/1.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another part of the exchange, in any combination"
)]
#[derive(Debug)]
pub(in crate::proxy) struct Http1Client {
    socket: Socket,
    reader: MessageReader,
    writer: MessageWriter,
    framing: RequestFraming,
    /// No `100 Continue` was sent, and no byte of the body has arrived.
    awaits_continue: bool,
    /// The end of the connection ends the response.
    until_close: bool,
    /// The whole response has been put into the writer.
    responded: bool,
    /// The rest of the body is not read.
    body_abandoned: bool,
    /// Closing the connection resets it.
    reset: bool,
    received: u64,
}

impl Http1Client {
    pub(in crate::proxy) fn new(socket: Socket) -> Self {
        Self {
            socket,
            reader: MessageReader::new(BytesMut::new()),
            writer: MessageWriter::new(),
            framing: RequestFraming::closing(HttpVersion::Http11),
            awaits_continue: false,
            until_close: false,
            responded: false,
            body_abandoned: false,
            reset: false,
            received: 0,
        }
    }

    /// Bytes that were read and not consumed.
    pub(in crate::proxy) fn input(&mut self) -> &mut BytesMut {
        &mut self.reader.input
    }

    /// Socket and input, for reading a head.
    pub(in crate::proxy) fn head_reader(&mut self) -> (&mut Socket, &mut BytesMut) {
        (&mut self.socket, &mut self.reader.input)
    }

    /// Starts a request: takes its head, of `head_len` bytes, from the input.
    pub(in crate::proxy) fn begin_request(
        &mut self,
        head_len: usize,
        framing: RequestFraming,
    ) -> Bytes {
        let head = self.reader.input.split_to(head_len).freeze();
        self.reader.begin_body(framing.body, Peer::Client);
        self.framing = framing;
        self.awaits_continue = framing.expects_continue && self.reader.input.is_empty();
        (
            self.until_close,
            self.responded,
            self.body_abandoned,
            self.received,
        ) = (false, false, false, 0);
        head
    }

    /// Whether another request may follow on the connection.
    pub(in crate::proxy) fn is_reusable(&self) -> bool {
        self.framing.keep_alive
            && self.responded
            && self.writer.is_flushed()
            && self.reader.is_complete()
    }

    /// Discards the rest of a short body that was not needed for the response, so that the
    /// connection can be reused. Gives up if the rest is late.
    pub(in crate::proxy) async fn drain(&mut self) {
        let is_short =
            matches!(self.framing.body, BodyLength::Known(length) if length <= MAX_DRAIN);
        if !self.framing.keep_alive || !self.responded || self.reader.is_complete() || !is_short {
            return;
        }
        let draining = async {
            while poll_fn(|cx| self.poll_part(cx)).await? == BodyPart::Data {
                let length = self.part().len();
                self.consume(length);
            }
            Ok::<_, ClientError>(())
        };
        // If it is late, the rest is read in a task of its own, as a lingering connection.
        drop(timeout(LINGER_TIMEOUT, draining).await);
    }

    /// Announced bytes that have not arrived.
    fn unread(&self) -> u64 {
        if self.body_abandoned || self.reader.is_complete() {
            return 0;
        }
        match self.framing.body {
            BodyLength::None | BodyLength::UntilClose => 0,
            BodyLength::Known(length) => length
                .saturating_sub(self.received)
                .saturating_sub(self.reader.input.len() as u64),
            BodyLength::Chunked => UNKNOWN_LENGTH,
        }
    }

    /// Closes the connection after a response.
    pub(in crate::proxy) async fn close(self) {
        // After an incomplete response the connection must be reset, since an orderly close would
        // mark it as complete.
        if !self.reset {
            let unread = self.unread();
            self.socket.close(unread).await;
        }
    }

    fn put_response(&mut self, method: &Method, response: &LocalResponse) {
        let keep_alive = self.framing.keep_alive;
        let out = self.writer.out();
        out.reserve(512 + response.body.len());
        let status = response.status;
        let reason = status.canonical_reason().unwrap_or("Error");
        put_status_line(out, status, reason.as_bytes());
        let mut upgrade = false;
        for (name, value) in &response.fields {
            upgrade |= *name == http::header::UPGRADE;
            let mut buffer = [0; 64];
            put_field(
                out,
                title_case(name.as_str(), &mut buffer),
                value.as_bytes(),
            );
        }
        if status != StatusCode::NO_CONTENT {
            let length = response
                .content_length
                .unwrap_or(response.body.len() as u64);
            put_content_length(out, length);
        }
        let option: &[u8] = if keep_alive { b"keep-alive" } else { b"close" };
        let upgrade: &[u8] = if upgrade { b", Upgrade" } else { b"" };
        put(out, &[b"Connection: ", option, upgrade, b"\r\n\r\n"]);
        if *method != Method::HEAD {
            put(out, &[&response.body]);
        }
    }
}

impl Client for Http1Client {
    const IS_HTTP2: bool = false;

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPart, ClientError>> {
        self.reader
            .poll_part(&mut self.socket, cx)
            .map_err(|error| {
                self.framing.keep_alive = false;
                match error {
                    MessageReadError::Closed => ClientError::Lost,
                    MessageReadError::Invalid => ClientError::Malformed,
                }
            })
    }

    fn part(&self) -> &[u8] {
        self.reader.part()
    }

    fn consume(&mut self, length: usize) {
        self.awaits_continue = false;
        self.received += length as u64;
        self.reader.consume(length);
    }

    fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    /// Bytes that arrive meanwhile belong to the next request.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.reader.is_complete() {
            return Poll::Pending;
        }
        loop {
            let input = &mut self.reader.input;
            if input.len() >= MAX_PIPELINED {
                return Poll::Pending;
            }
            match ready!(pin!(self.socket.read_buf(input)).poll(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    fn send_informational(&mut self, head: ResponseHead<'_>) {
        let is_continue = head.status == StatusCode::CONTINUE;
        // Only a client that expects a 100 gets one, and HTTP/1.0 has no informational responses.
        if self.framing.version == HttpVersion::Http11
            && (!is_continue || self.framing.expects_continue)
        {
            self.awaits_continue &= !is_continue;
            head.put_informational(self.writer.out(), b"");
        }
    }

    fn send_continue(&mut self) {
        self.awaits_continue = false;
        self.writer
            .out()
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    fn send_head(
        &mut self,
        head: ResponseHead<'_>,
        length: BodyLength,
        _is_complete: bool,
        reads_on: bool,
    ) -> Result<(), ClientError> {
        let length = match length {
            BodyLength::Chunked | BodyLength::UntilClose
                if self.framing.version == HttpVersion::Http10 =>
            {
                BodyLength::UntilClose
            }
            BodyLength::UntilClose => BodyLength::Chunked,
            known => known,
        };
        self.until_close = length == BodyLength::UntilClose;
        // A backend that closes may not read the rest of the request, and a client that waits for a
        // 100 may not send it.
        self.framing.keep_alive &=
            !self.until_close && (self.reader.is_complete() || reads_on && !self.awaits_continue);
        head.put(
            self.writer.out(),
            length,
            self.framing.keep_alive,
            self.framing.takes_trailers,
        );
        self.writer.begin_body(length);
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, part: &[u8]) -> Poll<Result<usize, ClientError>> {
        self.writer
            .poll_part(&mut self.socket, cx, part)
            .map_err(Into::into)
    }

    fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), ClientError> {
        let trailers = trailers.filter(|_| self.framing.takes_trailers);
        self.writer.finish(trailers)?;
        self.responded = true;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.writer
            .poll_flush(&mut self.socket, cx)
            .map_err(Into::into)
    }

    fn abort(&mut self, _reason: Reason) {
        if self.until_close {
            self.socket.reset_on_close();
            self.reset = true;
        }
        self.framing.keep_alive = false;
        self.abandon_body();
    }

    fn abandon_body(&mut self) {
        self.body_abandoned = true;
    }

    /// Keeps the connection open if the rest of the request is short, see [`Http1Client::drain`].
    async fn respond(
        &mut self,
        method: &Method,
        response: LocalResponse,
    ) -> Result<(), ClientError> {
        let can_drain = match self.framing.body {
            BodyLength::None => true,
            BodyLength::Known(length) => {
                length <= MAX_DRAIN && !self.awaits_continue && !self.body_abandoned
            }
            BodyLength::Chunked | BodyLength::UntilClose => false,
        };
        self.framing.keep_alive &= can_drain || self.reader.is_complete();
        self.put_response(method, &response);
        self.responded = true;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn send_upgrade(&mut self, head: ResponseHead<'_>) {
        head.put_upgrade(self.writer.out());
        self.framing.keep_alive = false;
    }

    fn socket(&mut self) -> Option<&mut Socket> {
        Some(&mut self.socket)
    }

    fn is_closed_by_peer(&self) -> bool {
        self.socket.closed_by_peer()
    }

    /// Nothing is read of the body, or so many bytes have arrived after the request that no more
    /// are read.
    fn needs_close_polling(&self) -> bool {
        !self.reader.is_complete() || self.reader.input.len() >= MAX_PIPELINED
    }

    fn has_pipelined_input(&self) -> bool {
        !self.reader.input.is_empty()
    }

    fn disable_keep_alive(&mut self) {
        self.framing.keep_alive = false;
    }

    fn received(&self) -> u64 {
        self.received
    }
}

/// `Content-Type` for `content-type`, the usual spelling in HTTP/1. Returns names longer than the
/// buffer unchanged.
fn title_case<'b>(name: &'b str, buffer: &'b mut [u8; 64]) -> &'b [u8] {
    let Some(title) = buffer.get_mut(..name.len()) else {
        return name.as_bytes();
    };
    let mut first = true;
    for (to, from) in title.iter_mut().zip(name.bytes()) {
        *to = if first {
            from.to_ascii_uppercase()
        } else {
            from
        };
        first = from == b'-';
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_title_case() {
        for (name, expected) in [
            ("content-type", "Content-Type"),
            ("x", "X"),
            ("a--b", "A--B"),
            ("", ""),
        ] {
            assert_eq!(title_case(name, &mut [0; 64]), expected.as_bytes());
        }
        let long = "x".repeat(65);
        assert_eq!(title_case(&long, &mut [0; 64]), long.as_bytes());
    }
}

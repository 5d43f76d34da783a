//! One stream of a client's HTTP/2 connection.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio::time::timeout;

use super::Client;
use crate::{
    http1::{BodyLength, Trailers},
    proxy::{
        failure::ClientError,
        http2_stream::{self, Unsent},
        local_response::LocalResponse,
        message::BodyPart,
        response_head::ResponseHead,
        stream_tracker::StreamTracker,
    },
};

/// A client's stream.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another part of the exchange, in any combination"
)]
#[derive(Debug)]
pub(in crate::proxy) struct Http2Client {
    /// `None`: the rest of the request's body is discarded.
    receive: Option<RecvStream>,
    respond: SendResponse<Bytes>,
    /// Set once the response head has been sent.
    send: Option<SendStream<Bytes>>,
    /// Bytes of the response's body that the library holds.
    unsent: Arc<Unsent>,
    part: Bytes,
    complete: bool,
    /// The response has been ended.
    response_ended: bool,
    streams: Arc<StreamTracker>,
    write_timeout: Duration,
    /// The request is a gRPC call.
    is_grpc: bool,
    reset_counted: bool,
    /// The client expects `100 Continue`, and none was sent.
    awaits_continue: bool,
    received: u64,
}

impl Http2Client {
    pub(in crate::proxy) fn new(
        receive: RecvStream,
        respond: SendResponse<Bytes>,
        streams: Arc<StreamTracker>,
        write_timeout: Duration,
        is_grpc: bool,
        expects_continue: bool,
    ) -> Self {
        let complete = receive.is_end_stream();
        Self {
            receive: Some(receive),
            respond,
            send: None,
            unsent: Arc::default(),
            part: Bytes::new(),
            complete,
            response_ended: false,
            streams,
            write_timeout,
            is_grpc,
            reset_counted: false,
            awaits_continue: expects_continue && !complete,
            received: 0,
        }
    }

    fn begin(&mut self, head: Response<()>, end: bool) -> Result<(), ClientError> {
        self.send = Some(
            self.respond
                .send_response(head, end)
                .map_err(|_| ClientError::Lost)?,
        );
        self.response_ended = end;
        Ok(())
    }

    async fn send_response(
        &mut self,
        method: &Method,
        response: LocalResponse,
    ) -> Result<(), ClientError> {
        let LocalResponse {
            status,
            fields,
            content_length,
            body,
        } = response;
        let mut head = Response::new(());
        *head.status_mut() = status;
        head.headers_mut().extend(fields);
        // HTTP/2 has no connection-specific fields (RFC 9113 section 8.2.2).
        head.headers_mut().remove(header::UPGRADE);
        // gRPC responses and those that never have a body have no `Content-Length`.
        let is_grpc = head.headers().contains_key("grpc-status");
        if status != StatusCode::NO_CONTENT && !is_grpc {
            let length = content_length.unwrap_or(body.len() as u64);
            head.headers_mut()
                .insert(header::CONTENT_LENGTH, length.into());
        }
        let mut rest = if *method == Method::HEAD {
            Bytes::new()
        } else {
            body
        };
        self.begin(head, rest.is_empty())?;
        let write_timeout = self.write_timeout;
        while !rest.is_empty() {
            let sent = timeout(write_timeout, poll_fn(|cx| self.poll_send(cx, &rest)));
            let length = sent.await.map_err(|_| ClientError::Lost)??;
            rest.advance(length);
        }
        self.finish(None)?;
        timeout(write_timeout, poll_fn(|cx| self.poll_flush(cx)))
            .await
            .map_err(|_| ClientError::Lost)?
    }
}

impl Client for Http2Client {
    const IS_HTTP2: bool = true;

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPart, ClientError>> {
        loop {
            if !self.part.is_empty() {
                return Poll::Ready(Ok(BodyPart::Data));
            }
            if self.complete {
                return Poll::Ready(Ok(BodyPart::Complete));
            }
            let Some(receive) = &mut self.receive else {
                return Poll::Ready(Err(ClientError::Lost));
            };
            match ready!(receive.poll_data(cx)) {
                Some(Ok(part)) => self.part = part,
                Some(Err(_)) => return Poll::Ready(Err(ClientError::Lost)),
                None => {
                    ready!(receive.poll_trailers(cx)).map_err(|_| ClientError::Lost)?;
                    self.complete = true;
                }
            }
        }
    }

    fn part(&self) -> &[u8] {
        &self.part
    }

    fn consume(&mut self, length: usize) {
        self.received += length as u64;
        self.part.advance(length);
        if let Some(receive) = &mut self.receive {
            // It fails only for bytes that were never received.
            drop(receive.flow_control().release_capacity(length));
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    fn send_continue(&mut self) {
        self.awaits_continue = false;
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        // It fails only on a closed stream, which the next operation reports.
        drop(self.respond.send_informational(head));
    }

    fn send_informational(&mut self, head: ResponseHead<'_>) {
        // menshen sends a 100 itself (RFC 9110 section 10.1.1).
        if head.status != StatusCode::CONTINUE {
            // It fails only on a closed stream, which the next operation reports.
            drop(
                self.respond
                    .send_informational(head.to_http2(BodyLength::None)),
            );
        }
    }

    fn send_head(
        &mut self,
        head: ResponseHead<'_>,
        length: BodyLength,
        is_complete: bool,
        _reads_on: bool,
    ) -> Result<(), ClientError> {
        self.begin(
            head.to_http2(length),
            is_complete || length == BodyLength::None,
        )
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, part: &[u8]) -> Poll<Result<usize, ClientError>> {
        match self.send.as_mut().filter(|_| !self.response_ended) {
            Some(stream) => {
                let copy = |part: &[u8]| self.unsent.copy(part);
                http2_stream::poll_send(stream, cx, part, copy).map_err(|_| ClientError::Lost)
            }
            None => Poll::Ready(Err(ClientError::Lost)),
        }
    }

    fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), ClientError> {
        let Some(stream) = self.send.as_mut().filter(|_| !self.response_ended) else {
            return Ok(());
        };
        self.response_ended = true;
        let trailers: HeaderMap = trailers
            .into_iter()
            .flat_map(Trailers::iter)
            .filter_map(header_field)
            .collect();
        let response_ended = if trailers.is_empty() {
            stream.send_data(Bytes::new(), true)
        } else {
            stream.send_trailers(trailers)
        };
        response_ended.map_err(|_| ClientError::Lost)
    }

    /// Waits until the library has written a complete response, unless the client resets the
    /// stream.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        if !self.response_ended {
            return Poll::Ready(Ok(()));
        }
        // A reset drops the buffered bytes.
        if self.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(ClientError::Lost));
        }
        self.unsent.poll_none(cx).map(Ok)
    }

    /// Resets the stream, so that the client does not take what was sent for a complete response.
    fn abort(&mut self, reason: Reason) {
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Counts the request as reset by the client, once.
    fn count_reset(&mut self) {
        if !self.reset_counted {
            self.reset_counted = true;
            self.streams.count_reset();
        }
    }

    /// Discards the request's body meanwhile. A client that does not read the response in time
    /// counts as disconnected.
    async fn respond(
        &mut self,
        method: &Method,
        response: LocalResponse,
    ) -> Result<(), ClientError> {
        (self.receive, self.part) = (None, Bytes::new());
        let sent = self.send_response(method, response).await;
        if sent.is_err() {
            // Frees the buffered bytes.
            self.abort(Reason::CANCEL);
            self.count_reset();
        }
        sent
    }

    fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    fn received(&self) -> u64 {
        self.received
    }
}

fn header_field((name, value): (&[u8], &[u8])) -> Option<(HeaderName, HeaderValue)> {
    Some((
        HeaderName::from_bytes(name).ok()?,
        HeaderValue::from_bytes(value).ok()?,
    ))
}

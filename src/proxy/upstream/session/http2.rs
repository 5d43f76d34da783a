//! An exchange on an HTTP/2 stream.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::SendStream;
use http::{HeaderMap, StatusCode, header};
use pingora::protocols::http::v2::client;

use super::{
    http1::{MAX_HEAD_LEN, is_bodiless},
    upstream_session::UpstreamSession,
};
use crate::{
    http1::{BodyLength, Trailers},
    proxy::{
        failure::{ExchangeError, ExchangeFailure},
        http2_stream,
        message::BodyPart,
        response_head::{HeadEvent, HeaderFields, ResponseHead},
        upstream_request::UpstreamRequest,
    },
};

pub(in crate::proxy) struct Http2Session {
    session: client::Http2Session,
    /// Set until the end of the request has been sent.
    send: Option<SendStream<Bytes>>,
    is_head_request: bool,
    part: Bytes,
    complete: bool,
    trailers: Option<Trailers>,
}

impl Http2Session {
    pub(super) const fn new(session: client::Http2Session) -> Self {
        Self {
            session,
            send: None,
            is_head_request: false,
            part: Bytes::new(),
            complete: false,
            trailers: None,
        }
    }

    pub(super) fn into_inner(self) -> client::Http2Session {
        self.session
    }
}

impl UpstreamSession for Http2Session {
    const IS_HTTP2: bool = true;

    fn send_head(&mut self, request: &UpstreamRequest<'_>) -> Result<(), ExchangeError> {
        self.is_head_request = *request.method() == http::Method::HEAD;
        let head = request.to_http2().ok_or_else(|| {
            ExchangeError::new(
                ExchangeFailure::Internal,
                "a field of the request is invalid",
            )
        })?;
        let end = is_bodiless(request.body_length());
        self.session
            .write_request_header(Box::new(head), end)
            .map_err(|error| ExchangeError::connecting(&error))?;
        self.send = self.session.take_request_body_writer().filter(|_| !end);
        Ok(())
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        part: &[u8],
    ) -> Poll<Result<usize, ExchangeError>> {
        match &mut self.send {
            Some(stream) => http2_stream::poll_send(stream, cx, part, Bytes::copy_from_slice)
                .map_err(|error| ExchangeError::http2(&error)),
            None => Poll::Ready(Err(ExchangeError::new(
                ExchangeFailure::ClosedEarly,
                "the stream is closed",
            ))),
        }
    }

    fn finish(&mut self) -> Result<(), ExchangeError> {
        let Some(mut send) = self.send.take() else {
            return Ok(());
        };
        send.send_data(Bytes::new(), true)
            .map_err(|error| ExchangeError::http2(&error))
    }

    /// The connection's own task writes.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<HeadEvent, ExchangeError>> {
        ready!(self.session.poll_read_response_header(cx))
            .map_err(|error| ExchangeError::http2(&error))?;
        let invalid = |cause| Poll::Ready(Err(ExchangeError::invalid_response(cause)));
        let Some(head) = self.session.response_header() else {
            return invalid("there is no head");
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return invalid("HTTP/2 has no upgrade");
        }
        let length: usize = head
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if length > MAX_HEAD_LEN {
            return invalid("the head is too long");
        }
        let bodiless = self.is_head_request
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let length = match content_length(&head.headers) {
            _ if bodiless => BodyLength::None,
            Some(length) => BodyLength::Known(length),
            None if self.session.response_finished() => BodyLength::Known(0),
            None => BodyLength::Chunked,
        };
        Poll::Ready(Ok(HeadEvent::Final(length)))
    }

    fn head(&self) -> Option<ResponseHead<'_>> {
        let head = self.session.response_header()?;
        Some(ResponseHead {
            status: head.status,
            reason: b"",
            content_length: content_length(&head.headers),
            fields: HeaderFields::Http2(&head.headers),
        })
    }

    fn reads_on(&self) -> bool {
        true
    }

    fn is_response_complete(&self) -> bool {
        self.session.response_finished()
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPart, ExchangeError>> {
        loop {
            if !self.part.is_empty() {
                return Poll::Ready(Ok(BodyPart::Data));
            }
            if self.complete {
                return Poll::Ready(Ok(BodyPart::Complete));
            }
            match ready!(self.session.poll_read_response_body(cx)) {
                Some(Ok(part)) => self.part = part,
                Some(Err(error)) => return Poll::Ready(Err(ExchangeError::http2(&error))),
                None => {
                    let trailers = ready!(std::pin::pin!(self.session.read_trailers()).poll(cx));
                    let trailers = trailers.map_err(|error| ExchangeError::connecting(&error))?;
                    self.trailers = trailers.map(|fields| {
                        let mut trailers = Trailers::new();
                        for (name, value) in &fields {
                            // A field that cannot be written as an HTTP/1 line is dropped.
                            let _ = trailers.append(name.as_str().as_bytes(), value.as_bytes());
                        }
                        trailers
                    });
                    self.complete = true;
                }
            }
        }
    }

    fn part(&self) -> &[u8] {
        &self.part
    }

    fn consume(&mut self, length: usize) {
        self.part.advance(length);
    }

    fn take_trailers(&mut self) -> Option<Trailers> {
        self.trailers.take()
    }
}

/// The library has checked that it is one number, and enforces it.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .split(',')
        .next()?
        .trim()
        .parse()
        .ok()
}

//! An exchange on an HTTP/1 connection.

use std::{
    mem::MaybeUninit,
    ops::Range,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use pingora::protocols::Stream;

use super::upstream_session::UpstreamSession;
use crate::{
    http1::{self, BodyLength, InvalidHead, Peer, ResponseFraming, Trailers},
    policy::{
        HeaderRange,
        head::{may_be_complete, range_within},
    },
    proxy::{
        failure::{ExchangeError, ExchangeFailure},
        message::{BodyPart, MessageReader, MessageWriter, poll_fill},
        response_head::{HeadEvent, HeaderFields, ResponseHead},
        upstream_request::UpstreamRequest,
    },
};

/// Most fields of a response head.
const MAX_FIELDS: usize = 256;
/// Longest response head, in bytes.
pub(super) const MAX_HEAD_LEN: usize = 256 * 1024;
/// Most informational responses before the final one.
const MAX_INFORMATIONAL: u32 = 32;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another part of the exchange, in any combination"
)]
pub(in crate::proxy) struct Http1Session {
    stream: Stream,
    reader: MessageReader,
    writer: MessageWriter,
    head: Option<Head>,
    is_head_request: bool,
    /// The request asks for a WebSocket.
    is_websocket: bool,
    /// The whole request has been put into the writer.
    requested: bool,
    /// The connection may be reused after the response.
    keep_alive: bool,
    /// Bytes of the input that are known to hold no complete head.
    scanned: usize,
    informational: u32,
}

/// A parsed head.
struct Head {
    bytes: BytesMut,
    status: StatusCode,
    reason: Range<usize>,
    content_length: Option<u64>,
    fields: Vec<HeaderRange>,
}

impl Http1Session {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            reader: MessageReader::new(BytesMut::new()),
            writer: MessageWriter::new(),
            head: None,
            is_head_request: false,
            is_websocket: false,
            requested: false,
            keep_alive: false,
            scanned: 0,
            informational: 0,
        }
    }

    /// Takes a head from the input, if it is complete.
    fn parse(&mut self) -> Result<Option<ResponseFraming>, ExchangeError> {
        let input = &mut self.reader.input;
        if !may_be_complete(input, self.scanned) {
            self.scanned = input.len();
            return Ok(None);
        }
        let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let parsed = match http1::parse_response(input, &mut slots) {
            Err(InvalidHead::Folded) => {
                http1::unfold(input);
                slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
                http1::parse_response(input, &mut slots)?
            }
            parsed => parsed?,
        };
        let Some((head, length)) = parsed else {
            self.scanned = input.len();
            return Ok(None);
        };
        let framing = http1::response_body(&head, self.is_head_request)?;
        let status = StatusCode::from_u16(head.status).map_err(|_| InvalidHead::StatusLine)?;
        let reason = range_within(input, head.reason.as_bytes());
        let fields = head
            .fields
            .iter()
            .map(|field| HeaderRange::within(input, field.name.as_bytes(), field.value))
            .collect();
        self.scanned = 0;
        let bytes = self.reader.input.split_to(length);
        self.head = Some(Head {
            bytes,
            status,
            reason,
            content_length: framing.content_length,
            fields,
        });
        Ok(Some(framing))
    }

    fn classify(&mut self, framing: ResponseFraming) -> Result<HeadEvent, ExchangeError> {
        let invalid = |cause| Err(ExchangeError::invalid_response(cause));
        let Some(head) = self.head() else {
            return invalid("there is no head");
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let mut protocols = head.fields.values(header::UPGRADE.as_str());
            let is_websocket = protocols
                .next()
                .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
            // Bytes of another protocol would be taken for the next response.
            return if self.is_websocket && is_websocket {
                Ok(HeadEvent::Upgraded)
            } else {
                invalid("an upgrade that was not requested")
            };
        }
        if head.status.is_informational() {
            self.informational += 1;
            return if self.informational > MAX_INFORMATIONAL {
                invalid("too many informational responses")
            } else {
                Ok(HeadEvent::Informational)
            };
        }
        self.keep_alive = framing.keep_alive;
        self.reader.begin_body(framing.body, Peer::Backend);
        // `Content-Length` without a body is passed on as a field.
        Ok(HeadEvent::Final(framing.body))
    }

    /// The connection, if another request may follow: the backend must have received the whole
    /// request, or it would take the next one for its rest, and no bytes may follow the response.
    pub(super) fn into_reusable(self) -> Option<Stream> {
        let is_requested = self.requested && self.writer.is_flushed();
        let is_responded =
            self.keep_alive && self.reader.is_complete() && self.reader.input.is_empty();
        (is_requested && is_responded).then_some(self.stream)
    }

    pub(in crate::proxy) fn into_upgraded(self) -> (Stream, Bytes) {
        (self.stream, self.reader.input.freeze())
    }
}

impl UpstreamSession for Http1Session {
    const IS_HTTP2: bool = false;

    fn send_head(&mut self, request: &UpstreamRequest<'_>) -> Result<(), ExchangeError> {
        self.is_head_request = *request.method() == http::Method::HEAD;
        self.is_websocket = request.is_websocket();
        request.put_http1(self.writer.out());
        self.writer.begin_body(request.body_length());
        Ok(())
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        part: &[u8],
    ) -> Poll<Result<usize, ExchangeError>> {
        self.writer
            .poll_part(&mut *self.stream, cx, part)
            .map_err(Into::into)
    }

    fn finish(&mut self) -> Result<(), ExchangeError> {
        self.writer.finish(None)?;
        self.requested = true;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.writer
            .poll_flush(&mut *self.stream, cx)
            .map_err(Into::into)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<HeadEvent, ExchangeError>> {
        loop {
            if let Some(framing) = self.parse()? {
                return Poll::Ready(self.classify(framing));
            }
            if self.reader.input.len() > MAX_HEAD_LEN {
                return Poll::Ready(Err(ExchangeError::invalid_response("the head is too long")));
            }
            if ready!(poll_fill(&mut *self.stream, cx, &mut self.reader.input))? == 0 {
                return Poll::Ready(Err(ExchangeError::new(
                    ExchangeFailure::ClosedEarly,
                    "the connection ended before a response",
                )));
            }
        }
    }

    fn head(&self) -> Option<ResponseHead<'_>> {
        self.head.as_ref().map(|head| ResponseHead {
            status: head.status,
            // A missing reason is not in the bytes.
            reason: head.bytes.get(head.reason.clone()).unwrap_or_default(),
            content_length: head.content_length,
            fields: HeaderFields::Http1(&head.bytes, &head.fields),
        })
    }

    fn reads_on(&self) -> bool {
        self.keep_alive
    }

    fn is_response_complete(&self) -> bool {
        self.reader.is_complete()
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPart, ExchangeError>> {
        self.reader
            .poll_part(&mut *self.stream, cx)
            .map_err(Into::into)
    }

    fn part(&self) -> &[u8] {
        self.reader.part()
    }

    fn consume(&mut self, length: usize) {
        self.reader.consume(length);
    }

    fn take_trailers(&mut self) -> Option<Trailers> {
        self.reader.take_trailers()
    }
}

/// Whether a body of this length has no bytes.
pub(super) const fn is_bodiless(length: BodyLength) -> bool {
    matches!(length, BodyLength::None | BodyLength::Known(0))
}

//! What an exchange asks of a session, whichever protocol it has.

use std::task::{Context, Poll};

use crate::{
    http1::Trailers,
    proxy::{
        failure::ExchangeError,
        message::BodyPart,
        response_head::{HeadEvent, ResponseHead},
        upstream_request::UpstreamRequest,
    },
};

/// The backend's side of one exchange.
pub(in crate::proxy) trait UpstreamSession {
    const IS_HTTP2: bool;

    /// Starts the request.
    fn send_head(&mut self, request: &UpstreamRequest<'_>) -> Result<(), ExchangeError>;

    /// Sends from the front of `part`, which is not empty, and returns the number of bytes sent.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        part: &[u8],
    ) -> Poll<Result<usize, ExchangeError>>;

    /// Ends the request.
    fn finish(&mut self) -> Result<(), ExchangeError>;

    /// Flushes buffered bytes.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>>;

    /// Waits for the next response head, which [`Self::head`] then returns.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<HeadEvent, ExchangeError>>;

    /// The last response head.
    fn head(&self) -> Option<ResponseHead<'_>>;

    /// Whether the backend reads the rest of the request after it has started to respond.
    fn reads_on(&self) -> bool;

    /// Whether neither a body nor trailers follow the final head.
    fn is_response_complete(&self) -> bool;

    /// Waits for the next part of the response's body.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPart, ExchangeError>>;

    /// What has not been consumed of the last part.
    fn part(&self) -> &[u8];

    /// Marks `length` bytes of the part as passed on.
    fn consume(&mut self, length: usize);

    /// The trailers of a complete response.
    fn take_trailers(&mut self) -> Option<Trailers>;
}

//! Relays both messages of an exchange at once: the request's body upstream; the response's head,
//! body and trailers downstream.
//!
//! One task alternates between a step of each, so neither waits for the other: a backend may
//! respond before it has read the request, and a client may read while it still sends. A side is
//! not read from while the other side does not accept bytes (back-pressure).
//!
//! Must stay true: bytes are passed on at once, and nothing stays buffered while either side is
//! waited for; a disconnect of either side is noticed, whichever side is being waited for; every
//! wait has a timeout.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use h2::Reason;
use http::StatusCode;
use tokio::time::{Instant, Sleep};

use crate::{
    gate::AdmittedRequest,
    http1::BodyLength,
    proxy::{
        client::Client,
        connection_tracker::{LINGER_TIMEOUT, MIN_BODY_RATE},
        failure::{ClientError, ExchangeError, ExchangeFailure},
        message::BodyPart,
        request_context::RequestContext,
        response_head::HeadEvent,
        streams::{CloseReason, MIN_STREAM_AGE, OpenStream, StreamKind},
        upstream::{Backend, session::UpstreamSession},
    },
};

/// How often to check for a disconnect of a client whose body is not read because the backend does
/// not read it.
const DEPARTURE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How an exchange ended.
pub(super) enum RelayEnd {
    /// The response is complete.
    Complete,
    /// The backend has accepted a WebSocket. The 101 has not been sent to the client.
    Upgraded,
    /// An open stream or a WebSocket ended for this reason, for example because its session has
    /// ended.
    Closed(CloseReason),
    Failed(ExchangeError),
}

impl From<ExchangeError> for RelayEnd {
    fn from(error: ExchangeError) -> Self {
        Self::Failed(error)
    }
}

impl From<ClientError> for RelayEnd {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.into())
    }
}

/// State of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// The body is being passed on.
    Body,
    /// The whole body has arrived.
    Flushing,
    /// The whole request has been written. The client is watched for a disconnect.
    Complete,
    /// The backend reads no more of it.
    Stopped,
}

/// State of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Download {
    Head,
    Body,
    Flushing,
    Complete,
}

/// Result of one step, unless it ends the exchange.
enum Step {
    Moved,
    /// No progress until this side is ready.
    Waits(Side),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Backend,
    /// Nothing is left to do.
    Neither,
}

/// An exchange in progress.
pub(super) struct Relay<'r, C, S> {
    context: &'r RequestContext,
    admitted: &'r AdmittedRequest,
    client: &'r mut C,
    session: &'r mut S,
    backend: &'r Backend,
    upload: Upload,
    download: Download,
    /// A gRPC call to an HTTP/2 backend: either side may be silent for long.
    is_grpc_call: bool,
    /// The status that the client was sent.
    status: Option<StatusCode>,
    /// Bytes of the response's body that were passed on.
    sent: u64,
    /// When the final response head arrived.
    head_at: Option<Instant>,
    /// When bytes were last passed on.
    active_at: Instant,
    /// Set once the exchange is registered as an open stream.
    stream: Option<OpenStream>,
}

impl<'r, C: Client, S: UpstreamSession> Relay<'r, C, S> {
    pub(super) fn new(
        context: &'r RequestContext,
        admitted: &'r AdmittedRequest,
        client: &'r mut C,
        session: &'r mut S,
        backend: &'r Backend,
    ) -> Self {
        let is_grpc_call = S::IS_HTTP2 && client.is_grpc();
        Self {
            context,
            admitted,
            client,
            session,
            backend,
            upload: Upload::Body,
            download: Download::Head,
            is_grpc_call,
            status: None,
            sent: 0,
            head_at: None,
            active_at: context.timing.start,
            stream: None,
        }
    }

    /// The status that the client was sent, microseconds until the response head arrived, and bytes
    /// of its body.
    pub(super) fn sent(&self) -> (Option<StatusCode>, Option<u64>, u64) {
        let waited = self
            .head_at
            .map(|at| at.duration_since(self.context.timing.start));
        (
            self.status,
            waited.map(|waited| u64::try_from(waited.as_micros()).unwrap_or(u64::MAX)),
            self.sent,
        )
    }

    pub(super) async fn run(&mut self, mut timer: Pin<&mut Sleep>) -> RelayEnd {
        let end = poll_fn(|cx| self.poll(cx, timer.as_mut())).await;
        match &end {
            RelayEnd::Failed(error) => {
                if !error.failure.is_client_fault()
                    && self.status.is_none()
                    && !error.is_unprocessed
                {
                    self.backend.health.report_failure();
                }
                if error.failure == ExchangeFailure::Timeout
                    && let Some(stream) = &self.stream
                {
                    stream.end(CloseReason::Idle);
                }
            }
            RelayEnd::Closed(_) => self.client.abort(Reason::CANCEL),
            RelayEnd::Complete | RelayEnd::Upgraded => {}
        }
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Sleep>) -> Poll<RelayEnd> {
        let (mut upload, mut download) = (None, None);
        let mut moved = false;
        while upload.is_none() || download.is_none() {
            if upload.is_none() {
                match self.poll_upload(cx) {
                    Ok(Step::Moved) => moved = true,
                    Ok(Step::Waits(side)) => upload = Some(side),
                    Err(end) => return Poll::Ready(end),
                }
            }
            if download.is_none() {
                match self.poll_download(cx) {
                    Ok(Step::Moved) => moved = true,
                    Ok(Step::Waits(side)) => download = Some(side),
                    Err(end) => return Poll::Ready(end),
                }
            }
            if self.download == Download::Complete && self.has_ended() {
                return Poll::Ready(RelayEnd::Complete);
            }
        }
        self.wait(
            cx,
            timer,
            moved,
            upload.unwrap_or(Side::Neither),
            download.unwrap_or(Side::Neither),
        )
    }

    /// Whether the request needs nothing more, given that its response is complete.
    fn has_ended(&self) -> bool {
        match self.upload {
            Upload::Complete | Upload::Stopped => true,
            // A client that waits for a 100 sends no body after a final response.
            Upload::Body => self.client.awaits_continue(),
            Upload::Flushing => false,
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Step, RelayEnd> {
        match self.upload {
            Upload::Body => match self.client.poll_part(cx)? {
                Poll::Pending => match self.session.poll_flush(cx) {
                    Poll::Ready(Err(_)) => Ok(self.stop_upload()),
                    Poll::Ready(Ok(())) | Poll::Pending => Ok(Step::Waits(Side::Client)),
                },
                Poll::Ready(BodyPart::Data) => {
                    match self.session.poll_send(cx, self.client.part()) {
                        Poll::Pending => self.watch(cx, Side::Backend),
                        Poll::Ready(Ok(length)) => {
                            self.client.consume(length);
                            Ok(Step::Moved)
                        }
                        Poll::Ready(Err(_)) => Ok(self.stop_upload()),
                    }
                }
                Poll::Ready(BodyPart::Complete) => match self.session.finish() {
                    Ok(()) => Ok(self.advance_upload(Upload::Flushing)),
                    Err(_) => Ok(self.stop_upload()),
                },
            },
            Upload::Flushing => match self.session.poll_flush(cx) {
                Poll::Pending => self.watch(cx, Side::Backend),
                Poll::Ready(Ok(())) => Ok(self.advance_upload(Upload::Complete)),
                Poll::Ready(Err(_)) => Ok(self.stop_upload()),
            },
            Upload::Complete | Upload::Stopped => self.watch(cx, Side::Neither),
        }
    }

    fn advance_upload(&mut self, state: Upload) -> Step {
        self.upload = state;
        Step::Moved
    }

    /// The backend reads no more. It may have responded already, or may be about to.
    fn stop_upload(&mut self) -> Step {
        self.advance_upload(Upload::Stopped)
    }

    /// Waits for `side`, unless the client disconnects.
    fn watch(&mut self, cx: &mut Context<'_>, side: Side) -> Result<Step, RelayEnd> {
        match self.client.poll_closed(cx) {
            Poll::Ready(()) => Err(ClientError::Lost.into()),
            Poll::Pending => Ok(Step::Waits(side)),
        }
    }

    fn poll_download(&mut self, cx: &mut Context<'_>) -> Result<Step, RelayEnd> {
        match self.download {
            Download::Head => match self.session.poll_head(cx)? {
                Poll::Pending => self.flush(cx),
                Poll::Ready(event) => self.handle_head(event),
            },
            Download::Body => match self.session.poll_part(cx) {
                Poll::Pending => self.flush(cx),
                Poll::Ready(Err(error)) => {
                    // What arrived before is still sent; the reset afterwards marks it as
                    // incomplete.
                    let _ = self.client.poll_flush(cx);
                    Err(error.into())
                }
                Poll::Ready(Ok(BodyPart::Data)) => {
                    match self.client.poll_send(cx, self.session.part())? {
                        Poll::Pending => Ok(Step::Waits(Side::Client)),
                        Poll::Ready(length) => {
                            self.session.consume(length);
                            self.sent += length as u64;
                            Ok(Step::Moved)
                        }
                    }
                }
                Poll::Ready(Ok(BodyPart::Complete)) => self.finish(),
            },
            Download::Flushing => match self.client.poll_flush(cx)? {
                Poll::Pending => Ok(Step::Waits(Side::Client)),
                Poll::Ready(()) => {
                    self.download = Download::Complete;
                    Ok(Step::Moved)
                }
            },
            Download::Complete => Ok(Step::Waits(Side::Neither)),
        }
    }

    /// Flushes to the client before waiting for the backend.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<Step, RelayEnd> {
        let _: Poll<()> = self.client.poll_flush(cx)?;
        Ok(Step::Waits(Side::Backend))
    }

    fn handle_head(&mut self, event: HeadEvent) -> Result<Step, RelayEnd> {
        let Some(head) = self.session.head() else {
            return Err(ExchangeError::invalid_response("there is no head").into());
        };
        let length = match event {
            HeadEvent::Upgraded => {
                self.backend.health.report_response();
                return Err(RelayEnd::Upgraded);
            }
            HeadEvent::Informational => {
                self.client.send_informational(head);
                return Ok(Step::Moved);
            }
            HeadEvent::Final(length) => length,
        };
        self.backend.health.report_response();
        self.head_at = Some(Instant::now());
        self.status = Some(head.status);
        if self.stream.is_none() && head.is_event_stream() {
            self.stream = Some(self.register(StreamKind::Events));
        }
        let (is_complete, reads_on) =
            (self.session.is_response_complete(), self.session.reads_on());
        self.client.send_head(head, length, is_complete, reads_on)?;
        self.download = Download::Body;
        if length == BodyLength::None {
            self.finish()
        } else {
            Ok(Step::Moved)
        }
    }

    /// Ends the response.
    fn finish(&mut self) -> Result<Step, RelayEnd> {
        let trailers = self.session.take_trailers();
        let trailers =
            trailers.and_then(|trailers| self.session.head()?.end_to_end_trailers(trailers));
        self.client.finish(trailers.as_ref())?;
        self.download = Download::Flushing;
        Ok(Step::Moved)
    }

    /// Both sides wait: sets the timer, and ends the exchange when a deadline has passed.
    fn wait(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        moved: bool,
        upload: Side,
        download: Side,
    ) -> Poll<RelayEnd> {
        let now = Instant::now();
        if moved {
            self.active_at = now;
            if self.is_too_slow(now) {
                return failed(ExchangeFailure::ClientSlow, "the body arrives too slowly");
            }
        }
        loop {
            let now = Instant::now();
            if self.stream.is_none() && self.stream_since().is_some_and(|at| now >= at) {
                self.stream = Some(self.register(if self.is_grpc_call {
                    StreamKind::GrpcCall
                } else {
                    StreamKind::LongResponse
                }));
            }
            if let Some(Poll::Ready(reason)) =
                self.stream.as_ref().map(|stream| stream.poll_closed(cx))
            {
                return Poll::Ready(RelayEnd::Closed(reason));
            }
            let (due, failure) = self.deadline(upload, download);
            if now >= due {
                return match failure {
                    Some(failure) => failed(failure, "it took too long"),
                    None => Poll::Ready(RelayEnd::Complete),
                };
            }
            let mut wake = due;
            if upload != Side::Client && self.client.needs_close_polling() {
                if self.client.is_closed_by_peer() {
                    return Poll::Ready(ClientError::Lost.into());
                }
                wake = wake.min(now + DEPARTURE_CHECK_INTERVAL);
            }
            if self.stream.is_none() {
                wake = self.stream_since().map_or(wake, |at| wake.min(at));
            }
            // The timer is reset only when it fires early or is set too late, which is rare on a
            // busy connection.
            if timer.deadline() > wake || timer.is_elapsed() {
                timer.as_mut().reset(wake);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Registers the exchange as an open stream.
    fn register(&self, kind: StreamKind) -> OpenStream {
        self.context
            .snapshot
            .streams
            .register(kind, self.admitted.identity.as_ref())
    }

    /// When the exchange starts to count as a stream.
    fn stream_since(&self) -> Option<Instant> {
        let since = if self.is_grpc_call {
            Some(self.context.timing.start)
        } else {
            self.head_at
        };
        since.map(|since| since + MIN_STREAM_AGE)
    }

    /// A body has no length limit but a minimum rate: one byte before each timeout would hold a
    /// connection forever.
    fn is_too_slow(&self, now: Instant) -> bool {
        let received = self.client.received();
        let is_uploading = self.upload == Upload::Body && received > 0 && !self.is_grpc_call;
        let allowed = self.context.snapshot.limits.body_timeout
            + Duration::from_secs(received / MIN_BODY_RATE);
        is_uploading && now.duration_since(self.context.timing.start) > allowed
    }

    /// The deadline of the sides that are waited for, and the failure once it has passed. `None`:
    /// no failure.
    fn deadline(&self, upload: Side, download: Side) -> (Instant, Option<ExchangeFailure>) {
        let snapshot = &self.context.snapshot;
        let rule_timeout = self.admitted.forward.idle_timeout;
        let body_timeout = snapshot.limits.body_timeout;
        let upstreams = &snapshot.upstreams;
        let read_timeout = rule_timeout.unwrap_or(upstreams.read_timeout);
        let (timeout, failure) = match (upload, download) {
            // After a complete response the rest of the request may still arrive, but is not waited
            // for.
            (_, Side::Neither) => (LINGER_TIMEOUT, None),
            (_, Side::Client) => (body_timeout, Some(ExchangeFailure::ClientLost)),
            // The backend has not sent the 100 that the client waits for.
            (Side::Client, Side::Backend) if self.client.awaits_continue() => {
                (read_timeout, Some(ExchangeFailure::Timeout))
            }
            (Side::Client, Side::Backend) => {
                let body_timeout = rule_timeout.unwrap_or_default().max(body_timeout);
                (
                    body_timeout.min(read_timeout),
                    Some(ExchangeFailure::ClientSlow),
                )
            }
            (Side::Backend, Side::Backend) => {
                (upstreams.write_timeout, Some(ExchangeFailure::Timeout))
            }
            (Side::Neither, Side::Backend) => (read_timeout, Some(ExchangeFailure::Timeout)),
        };
        (self.active_at + timeout, failure)
    }
}

fn failed(failure: ExchangeFailure, cause: &'static str) -> Poll<RelayEnd> {
    Poll::Ready(ExchangeError::new(failure, cause).into())
}

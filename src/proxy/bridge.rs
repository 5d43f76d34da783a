//! Between a client's connection and the auth API: pingora reads and writes HTTP, axum routes it.
//!
//! A body is read whole here, within its limit and time, before anything is done with it.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use pingora::{
    http::ResponseHeader,
    protocols::{Stream, http::ServerSession},
};
use tokio::time::timeout;
use tower::ServiceExt;

use super::{
    connection_tracker::{LINGER_TIMEOUT, UnreadBody},
    http2::Siblings,
    record::{Outcome, Record, Recorder, RuleIndex, Timing},
    socket::Socket,
};
use crate::{
    api::{BODY_TIME, LONGEST_BODY, RequestContext, Voices, problem::Problem},
    error::ErrorCode,
    gate::AdmittedRequest,
    policy::BodyLength as Framed,
};

/// The auth API behind the connections.
pub(super) struct Bridge {
    pub(super) router: Router,
    pub(super) recorder: Arc<Recorder>,
    pub(super) voices: Voices,
    /// For writing the answer, and for the whole body of a request where [`BODY_TIME`] is not shorter.
    pub(super) timeout: Duration,
}

/// What is known of the client of a request.
pub(super) enum Client<'a> {
    /// With what it has not sent of its body yet, where that is known.
    Http1(Option<&'a UnreadBody>),
    /// With the other requests of its connection.
    Http2(&'a Siblings),
}

/// Why there is no body.
enum NoBody {
    TooLarge,
    Late,
    /// It broke off, or its framing did.
    Broken,
}

impl Bridge {
    /// Answers one request. The connection comes back if it can go on.
    pub(super) async fn answer(
        &self,
        stream: Stream,
        request: BytesMut,
        passage: AdmittedRequest,
        timing: Timing,
        last: bool,
    ) -> Option<Stream> {
        let unread = stream.as_any().downcast_ref::<Socket>().map(|socket| socket.unread.clone());
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelined_prefix(request);
        // The bytes are there, so this reads nothing; a head that pingora will not have was refused before.
        if !session.read_request().await.unwrap_or(false)
            || session.req_header().raw_path() != passage.forward.target.as_bytes()
        {
            session.shutdown().await;
            return None;
        }
        if last {
            session.set_keepalive(None);
        }
        self.serve(session, passage, timing, Client::Http1(unread.as_deref())).await
    }

    /// Answers the request of a session. The connection comes back if it can go on.
    pub(super) async fn serve(
        &self,
        mut session: ServerSession,
        passage: AdmittedRequest,
        timing: Timing,
        client: Client<'_>,
    ) -> Option<Stream> {
        let (unread, mut siblings) = match client {
            Client::Http1(unread) => (unread, None),
            Client::Http2(siblings) => (None, Some(siblings)),
        };
        let request_id = passage.log.request_id.clone().unwrap_or_else(|| self.recorder.request_id());
        session.set_read_timeout(Some(self.timeout));
        session.set_write_timeout(Some(self.timeout));
        session.set_total_drain_timeout(Some(LINGER_TIMEOUT));
        let mut response =
            match timeout(self.timeout.min(BODY_TIME), self.body(&mut session, &passage)).await.unwrap_or(Err(NoBody::Late))
            {
                Ok(body) => {
                    unread.inspect(|unread| unread.set(0));
                    let answer = self.call(&session, body, &passage, &request_id);
                    attended(&mut session, answer, &mut siblings).await
                }
                Err(fault) => {
                    session.set_keepalive(None);
                    let malformed = Problem::new(ErrorCode::RequestMalformed);
                    let problem = match fault {
                        NoBody::TooLarge => Problem::new(ErrorCode::BodyTooLarge),
                        NoBody::Late => {
                            // It has had its time, so the connection is not read on.
                            unread.inspect(|unread| unread.set(0));
                            malformed.detail("The request body did not arrive in time.")
                        }
                        NoBody::Broken => malformed.detail("The request body could not be read to its end."),
                    };
                    self.voices.respond(passage.path(), &problem, &request_id)
                }
            };
        for (name, value) in passage.cors.iter().flat_map(|fields| fields.iter()) {
            response.headers_mut().append(name, value.clone());
        }
        let status = response.status();
        let error = response
            .headers()
            .get("x-menshen-error")
            .and_then(|code| ErrorCode::ALL.into_iter().find(|known| code == known.as_str()));
        let written = write(&mut session, response).await;
        if written.is_err() {
            siblings.take().inspect(|siblings| siblings.abandoned());
        }
        self.recorder.write(&Record {
            timing: &timing,
            rule: RuleIndex::AuthApi,
            outcome: Outcome::Auth,
            request_id: &request_id,
            method: passage.forward.method.as_str(),
            path: passage.path(),
            status: if written.is_ok() { status.as_u16() } else { 0 },
            error,
            would: None,
            user: None,
            client_ip: passage.origin.ip,
        });
        written.ok()?;
        let (stream, _none) = session.finish().await.ok()??.into_parts();
        Some(stream)
    }

    async fn body(&self, session: &mut ServerSession, passage: &AdmittedRequest) -> Result<Bytes, NoBody> {
        match passage.framing.body {
            Framed::None => return Ok(Bytes::new()),
            Framed::Length(length) if length > LONGEST_BODY as u64 => return Err(NoBody::TooLarge),
            Framed::Length(_) | Framed::Unknown => {}
        }
        if passage.framing.expects_continue {
            session.write_continue_response().await.map_err(|_| NoBody::Broken)?;
        }
        let mut body = BytesMut::new();
        while let Some(part) = session.read_request_body().await.map_err(|_| NoBody::Broken)? {
            if body.len() + part.len() > LONGEST_BODY {
                return Err(NoBody::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }

    /// The answer to come. It holds nothing of the session.
    fn call(
        &self,
        session: &ServerSession,
        body: Bytes,
        passage: &AdmittedRequest,
        request_id: &str,
    ) -> impl Future<Output = Response<Body>> + use<> {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = passage.forward.method.clone();
        // The path was checked, so it is a URI.
        *request.uri_mut() = passage.forward.target.parse().unwrap_or_default();
        *request.headers_mut() = session.req_header().headers.clone();
        request.extensions_mut().insert(RequestContext { request_id: request_id.to_owned(), client_ip: passage.origin.ip });
        let answer = self.router.clone().oneshot(request);
        async move {
            // A Router cannot fail; its error type is empty.
            let Ok(response) = answer.await;
            response
        }
    }
}

/// Does the work to its end, whether the client waits for it or not: half a login helps nobody. That it does not is counted at once,
/// and once (`siblings` are taken for it): each such request costs as much as one that is waited for.
async fn attended<T>(session: &mut ServerSession, work: impl Future<Output = T>, siblings: &mut Option<&Siblings>) -> T {
    let (ServerSession::H2(session), Some(_)) = (session, *siblings) else { return work.await };
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = work.as_mut() => return done,
        _ = session.idle() => {}
    }
    siblings.take().inspect(|siblings| siblings.abandoned());
    work.await
}

async fn write(session: &mut ServerSession, response: Response<Body>) -> pingora::Result<()> {
    let (parts, body) = response.into_parts();
    // Our own bodies are in memory; collecting them cannot fail.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 1))?;
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            head.append_header(name, value.clone())?;
        }
    }
    if parts.status != http::StatusCode::NO_CONTENT {
        let length = match parts.headers.get(header::CONTENT_LENGTH) {
            Some(length) if body.is_empty() => length.clone(),
            _ => HeaderValue::from(body.len()),
        };
        head.insert_header(header::CONTENT_LENGTH, length)?;
    }
    let bodiless = body.is_empty() || session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head)).await?;
    if !bodiless {
        session.write_response_body(body, true).await?;
    }
    session.finish_body().await
}

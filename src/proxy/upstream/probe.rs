//! Probes: menshen's own requests to a backend, for health checks and `menshen doctor`.
//!
//! Must stay true: a probe uses the same address, protocol, TLS, `Host` and shared secret as a
//! client's request, decided by the same code; it opens its own connection and takes none from the
//! pool.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use pingora::{
    Error, ErrorType, connectors::http::Connector, http::RequestHeader,
    protocols::http::client::HttpSession, upstreams::peer::HttpPeer,
};
use tokio::time::{Instant, timeout_at};

use super::{Backend, UpstreamPeer, Upstreams};

/// Most bytes of a response body that are read.
const MAX_BODY: usize = 64 * 1024;

/// Sends probes to the backends of one config.
pub struct Prober {
    upstreams: Arc<Upstreams>,
    connector: Connector,
}

/// A `GET` request.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    pub path: &'a str,
    /// An additional header field.
    pub field: Option<(&'static str, &'static str)>,
    /// Reads the response body, too.
    pub with_body: bool,
}

/// A response to a probe.
#[derive(Debug)]
pub struct ProbeResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why a probe has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeError {
    /// The backend's name is not resolved.
    Unresolved,
    /// No connection, and the reason.
    NoConnection(&'static str),
    /// A connection, but no TLS, or an untrusted certificate.
    NoTls,
    /// A connection, but no response in time.
    NoResponse,
    /// The response is not HTTP of the configured version.
    NotHttp,
    /// The path or the header field cannot be sent.
    InvalidRequest,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unresolved => "its name cannot be resolved",
            Self::NoConnection(why) => why,
            Self::NoTls => "no TLS, or an untrusted certificate",
            Self::NoResponse => "no response in time",
            Self::NotHttp => "no HTTP response",
            Self::InvalidRequest => "the request cannot be written",
        })
    }
}

impl Prober {
    pub fn new(upstreams: Arc<Upstreams>) -> Self {
        Self {
            upstreams,
            connector: Connector::new(None),
        }
    }

    /// Sends a probe to one backend, all of it within `timeout`.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn send(
        &self,
        at: usize,
        probe: Probe<'_>,
        timeout: Duration,
    ) -> Result<ProbeResponse, ProbeError> {
        let deadline = Instant::now() + timeout;
        let backend = self.upstreams.get(at);
        let (mut session, peer) = self.connect(backend, deadline).await?;
        let request = request(&self.upstreams, backend, &peer, &session, probe)
            .ok_or(ProbeError::InvalidRequest)?;
        let exchange = async {
            session.write_request_header(Box::new(request)).await?;
            session.finish_request_body().await?;
            read(&mut session, probe.with_body).await
        };
        match timeout_at(deadline, exchange).await {
            Err(_) => Err(ProbeError::NoResponse),
            Ok(answer) => answer.map_err(|error| classify(&error)),
        }
    }

    /// Whether a backend accepts a connection, including the handshakes of TLS and HTTP/2 if they
    /// are configured.
    pub(in crate::proxy) async fn check_connection(
        &self,
        at: usize,
        timeout: Duration,
    ) -> Result<(), ProbeError> {
        self.connect(self.upstreams.get(at), Instant::now() + timeout)
            .await
            .map(drop)
    }

    async fn connect(
        &self,
        backend: &Backend,
        deadline: Instant,
    ) -> Result<(HttpSession, Arc<UpstreamPeer>), ProbeError> {
        if !backend.is_resolved() {
            return Err(ProbeError::Unresolved);
        }
        let peer = backend.peer();
        let mut own = HttpPeer::clone(&peer.peer);
        // So that the connection is not pooled for another probe.
        own.options.max_h2_streams = 1;
        match timeout_at(deadline, self.connector.get_http_session(&own)).await {
            Err(_) => Err(ProbeError::NoConnection("no connection in time")),
            Ok(Ok((session, _))) => Ok((session, peer)),
            Ok(Err(error)) => {
                backend.demote_address(&peer, &error);
                Err(classify(&error))
            }
        }
    }
}

/// `None`: a part of it is invalid.
fn request(
    upstreams: &Upstreams,
    backend: &Backend,
    peer: &HttpPeer,
    session: &HttpSession,
    probe: Probe<'_>,
) -> Option<RequestHeader> {
    let path = probe.path.as_bytes();
    let mut request = RequestHeader::build(Method::GET, path, Some(6)).ok()?;
    let agent = concat!("menshen/", env!("CARGO_PKG_VERSION"));
    request.insert_header(header::USER_AGENT, agent).ok()?;
    if let Some((name, value)) = probe.field {
        request.insert_header(name, value).ok()?;
    }
    let fields = &upstreams.fields;
    fields.add_to_probe(&mut request, &backend.authority).ok()?;
    if session.as_http2().is_none() {
        request.insert_header(header::CONNECTION, "close").ok()?;
        return Some(request);
    }
    request.set_version(http::Version::HTTP_2);
    let host = request.remove_header(&header::HOST)?;
    let scheme = if peer.is_tls() { "https" } else { "http" };
    let target = Uri::builder()
        .scheme(scheme)
        .authority(host.as_bytes())
        .path_and_query(probe.path);
    request.set_uri(target.build().ok()?);
    Some(request)
}

async fn read(session: &mut HttpSession, with_body: bool) -> pingora::Result<ProbeResponse> {
    let (status, headers) = loop {
        session.read_response_header().await?;
        let Some(head) = session.response_header() else {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "no response");
        };
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            break (head.status, head.headers.clone());
        }
        // Over HTTP/2 the library skips informational responses.
        if session.as_http2().is_some() {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "no final response");
        }
    };
    let mut body = BytesMut::new();
    while with_body && body.len() < MAX_BODY {
        let Some(part) = session.read_response_body().await? else {
            break;
        };
        body.extend_from_slice(&part);
    }
    Ok(ProbeResponse {
        status,
        headers,
        body: body.freeze(),
    })
}

fn classify(error: &Error) -> ProbeError {
    match error.etype() {
        ErrorType::ConnectRefused => ProbeError::NoConnection("connection refused"),
        ErrorType::ConnectTimedout => ProbeError::NoConnection("no connection in time"),
        ErrorType::ConnectNoRoute => ProbeError::NoConnection("no route to its address"),
        ErrorType::ConnectError | ErrorType::SocketError | ErrorType::InternalError => {
            ProbeError::NoConnection("no connection")
        }
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert => ProbeError::NoTls,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => ProbeError::NoResponse,
        _ => ProbeError::NotHttp,
    }
}

//! The request that a backend gets: the client's forwarded fields, then menshen's own (identity,
//! client address, request id, signed assertion).
//!
//! Must stay true: menshen's fields replace the client's fields of the same name; the body gets new
//! framing; over HTTP/1 every forwarded byte is one that the gate has decided on.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;

use super::{
    failure::{ExchangeError, ExchangeFailure},
    local_response::HeaderField,
    message::{put, put_content_length, put_field},
    upstream::{Backend, fixed_fields::FixedFields},
};
use crate::{
    auth::UpstreamAssertions,
    config::UpstreamConfig,
    gate::{AdmittedRequest, ForwardedRequest},
    http1::BodyLength,
    policy::headers::{AUTH_ASSERTION_NAME, AUTH_STATE_NAME, X_REQUEST_ID},
    token::NotSigned,
    types::{ClientIp, Timestamp},
};

/// Longer than any address, so that the text is shared and not copied.
const MAX_ADDRESS_LEN: usize = 48;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Builds menshen's header fields.
pub(super) struct UpstreamHeaders {
    fixed: FixedFields,
    assertions: UpstreamAssertions,
    authenticated: HeaderValue,
    anonymous: HeaderValue,
    http: HeaderValue,
    https: HeaderValue,
}

impl UpstreamHeaders {
    /// Usual number of fields.
    const CAPACITY: usize = 14;

    pub(super) fn new(config: &UpstreamConfig, assertions: UpstreamAssertions) -> Self {
        Self {
            fixed: FixedFields::new(config),
            assertions,
            authenticated: HeaderValue::from_static("authenticated"),
            anonymous: HeaderValue::from_static("anonymous"),
            http: HeaderValue::from_static("http"),
            https: HeaderValue::from_static("https"),
        }
    }

    /// The identity headers and the authentication state. Forward-auth responses have them, too.
    pub(super) fn identity(&self, admitted: &AdmittedRequest) -> impl Iterator<Item = HeaderField> {
        let identity = admitted.identity.as_ref();
        let fields = identity
            .into_iter()
            .flat_map(|identity| identity.headers.iter());
        let state = if identity.is_some() {
            &self.authenticated
        } else {
            &self.anonymous
        };
        fields
            .map(|(name, value)| (name.clone(), value))
            .chain([(AUTH_STATE_NAME, state.clone())])
    }

    /// The signed fields: the assertion, and the token in the backend's own format. None for an
    /// anonymous caller.
    pub(super) fn signed(
        &self,
        admitted: &AdmittedRequest,
        now: Timestamp,
    ) -> Result<[Option<HeaderField>; 2], NotSigned> {
        let Some(identity) = &admitted.identity else {
            return Ok([None, None]);
        };
        let assertion = self
            .assertions
            .assertion(identity, now)?
            .map(|value| (AUTH_ASSERTION_NAME, value));
        let backend_token = self
            .assertions
            .backend_token(identity, now)?
            .map(|(name, value)| (name.clone(), value));
        Ok([assertion, backend_token])
    }

    /// All of menshen's fields for one request.
    pub(super) fn fields(
        &self,
        admitted: &AdmittedRequest,
        head: &Bytes,
        request_id: &str,
        backend: &Backend,
        now: Timestamp,
    ) -> Result<Vec<HeaderField>, ExchangeError> {
        let internal = || ExchangeError::new(ExchangeFailure::Internal, "not a header value");
        let mut fields = Vec::with_capacity(Self::CAPACITY);
        fields.extend(self.identity(admitted));
        let signed = self.signed(admitted, now).map_err(|_| {
            ExchangeError::new(
                ExchangeFailure::Assertion,
                "the assertion could not be signed",
            )
        })?;
        fields.extend(signed.into_iter().flatten());
        let forward = &admitted.forward;
        let cookie = forward.cookie.clone();
        fields.extend(cookie.map(|cookie| (header::COOKIE, cookie)));
        let client = address(admitted.client.ip).ok_or_else(internal)?;
        fields.push((X_FORWARDED_FOR, client.clone()));
        fields.push((X_REAL_IP, client));
        let protocol = if admitted.client.https {
            &self.https
        } else {
            &self.http
        };
        fields.push((X_FORWARDED_PROTO, protocol.clone()));
        if let Some(host) = forward.host {
            let host =
                HeaderValue::from_maybe_shared(head.slice(host.value())).map_err(|_| internal())?;
            fields.push((X_FORWARDED_HOST, host));
        }
        let request_id = HeaderValue::from_str(request_id).map_err(|_| internal())?;
        fields.push((X_REQUEST_ID, request_id));
        let has_host = forward.host.is_some();
        fields.extend(self.fixed.for_client(has_host, &backend.authority));
        Ok(fields)
    }
}

/// One request for one backend.
pub(super) struct UpstreamRequest<'a> {
    admitted: &'a AdmittedRequest,
    /// The head, into which the ranges of the client's fields point.
    head: &'a Bytes,
    /// menshen's fields.
    fields: Vec<HeaderField>,
    body: BodyLength,
}

impl<'a> UpstreamRequest<'a> {
    /// `fields`: see [`UpstreamHeaders::fields`].
    pub(super) fn new(
        admitted: &'a AdmittedRequest,
        head: &'a Bytes,
        mut fields: Vec<HeaderField>,
        body: BodyLength,
    ) -> Self {
        if admitted.log.report_only.is_some() && has_field(&admitted.forward, head, &X_REAL_IP) {
            // In report-only mode a proxy's own `X-Real-IP` is kept, because the backend may depend
            // on it.
            fields.retain(|(name, _)| *name != X_REAL_IP);
        }
        Self {
            admitted,
            head,
            fields,
            body,
        }
    }

    pub(super) const fn method(&self) -> &Method {
        &self.admitted.forward.method
    }

    pub(super) const fn body_length(&self) -> BodyLength {
        self.body
    }

    pub(super) const fn is_websocket(&self) -> bool {
        self.admitted.forward.websocket
    }

    /// The client's forwarded fields, without those that menshen sets and those that frame the
    /// body.
    fn client_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let forward = &self.admitted.forward;
        forward
            .forwarded_headers
            .iter()
            .map(|range| (&self.head[range.name()], &self.head[range.value()]))
            .filter(|(name, _)| {
                let frames = match name.len() {
                    // An expectation of an HTTP/1.0 client is ignored (RFC 9110 section 10.1.1).
                    6 => {
                        !self.admitted.framing.expects_continue
                            && name.eq_ignore_ascii_case(b"expect")
                    }
                    14 => name.eq_ignore_ascii_case(b"content-length"),
                    17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
                    _ => false,
                };
                !frames && !self.fields.iter().any(|(ours, _)| is_name(name, ours))
            })
    }

    /// Puts the head for a backend of HTTP/1.
    pub(super) fn put_http1(&self, out: &mut Vec<u8>) {
        let forward = &self.admitted.forward;
        out.reserve(self.head.len() + 512);
        put(
            out,
            &[
                forward.method.as_str().as_bytes(),
                b" ",
                forward.target.as_bytes(),
                b" HTTP/1.1\r\n",
            ],
        );
        for (name, value) in self.client_fields() {
            put_field(out, name, value);
        }
        for (name, value) in &self.fields {
            put_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
        match self.body {
            BodyLength::Known(length) => put_content_length(out, length),
            BodyLength::Chunked => put(out, &[b"Transfer-Encoding: chunked\r\n"]),
            BodyLength::None | BodyLength::UntilClose => {}
        }
        // These fields are hop-by-hop, so menshen sets its own (RFC 9110 sections 7.8 and 10.1.4).
        if forward.websocket {
            put(out, &[b"Connection: Upgrade\r\nUpgrade: websocket\r\n"]);
        } else if forward.trailers {
            put(out, &[b"TE: trailers\r\nConnection: TE\r\n"]);
        }
        put(out, &[b"\r\n"]);
    }

    /// The head for a backend of HTTP/2. `None`: a part of it is invalid.
    pub(super) fn to_http2(&self) -> Option<RequestHeader> {
        let forward = &self.admitted.forward;
        let capacity = forward.forwarded_headers.len() + self.fields.len() + 2;
        let (method, target) = (forward.method.clone(), forward.target.as_bytes());
        let mut request = RequestHeader::build_no_case(method, target, Some(capacity)).ok()?;
        for (name, value) in self.client_fields() {
            // menshen answers the expectation itself (RFC 9110 section 10.1.1).
            if name.eq_ignore_ascii_case(b"expect") {
                continue;
            }
            let name = HeaderName::from_bytes(name).ok()?;
            let value = HeaderValue::from_bytes(value).ok()?;
            request.append_header(name, value).ok()?;
        }
        for (name, value) in &self.fields {
            request.append_header(name, value.clone()).ok()?;
        }
        if let BodyLength::Known(length) = self.body {
            let length = HeaderValue::from(length);
            request.insert_header(header::CONTENT_LENGTH, length).ok()?;
        }
        if forward.trailers {
            request.insert_header(header::TE, "trailers").ok()?;
        }
        Some(request)
    }
}

fn is_name(name: &[u8], known: &HeaderName) -> bool {
    name.len() == known.as_str().len() && name.eq_ignore_ascii_case(known.as_str().as_bytes())
}

fn has_field(forward: &ForwardedRequest, head: &Bytes, known: &HeaderName) -> bool {
    forward
        .forwarded_headers
        .iter()
        .any(|range| is_name(&head[range.name()], known))
}

/// The address as a shared value, so that two headers need one allocation.
fn address(ip: ClientIp) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(MAX_ADDRESS_LEN);
    write!(text, "{ip}").ok()?;
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

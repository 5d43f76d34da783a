//! What menshen adds to a request for the backend: who is calling, from where, and under which id.
//!
//! Must stay true: it runs after the client's headers have been filtered, on both ways to the backend, and replaces, never
//! appends.

use http::{HeaderName, HeaderValue, header};
use pingora::{Error, ErrorType, http::RequestHeader};

use super::upstream::Backend;
use crate::{gate::Passage, policy::headers::AUTH_STATE_NAME, types::ClientIp};

/// Sets our headers.
pub(super) struct Outgoing {
    /// `Host` for the backend; `None`: the client's own.
    host: Option<HeaderValue>,
    authenticated: HeaderValue,
    anonymous: HeaderValue,
    http: HeaderValue,
    https: HeaderValue,
}

impl Outgoing {
    /// Most fields that are set.
    pub(super) const FIELDS: usize = 12;

    pub(super) const fn new(host: Option<HeaderValue>) -> Self {
        Self {
            host,
            authenticated: HeaderValue::from_static("authenticated"),
            anonymous: HeaderValue::from_static("anonymous"),
            http: HeaderValue::from_static("http"),
            https: HeaderValue::from_static("https"),
        }
    }

    /// Who is calling, and that it is menshen who says so: what a proxy that asks is told as well.
    pub(super) fn identity<E>(
        &self,
        passage: &Passage,
        mut set: impl FnMut(HeaderName, HeaderValue) -> Result<(), E>,
    ) -> Result<(), E> {
        let identity = passage.identity.as_ref();
        for (name, value) in identity.iter().flat_map(|identity| &identity.headers) {
            set(name.clone(), value.clone())?;
        }
        let state = if identity.is_some() { &self.authenticated } else { &self.anonymous };
        set(AUTH_STATE_NAME, state.clone())
    }

    /// Sets them on a request whose own headers have been filtered.
    pub(super) fn add(
        &self,
        request: &mut RequestHeader,
        passage: &Passage,
        request_id: &str,
        backend: &Backend,
    ) -> pingora::Result<()> {
        self.identity(passage, |name, value| request.insert_header(name, value))?;
        request.insert_header("X-Forwarded-For", address(passage.origin.ip)?)?;
        request.insert_header("X-Forwarded-Proto", if passage.origin.https { &self.https } else { &self.http }.clone())?;
        if let Some(host) = &passage.host {
            request.insert_header("X-Forwarded-Host", host.clone())?;
        }
        request.insert_header("X-Request-Id", value(request_id)?)?;
        match &self.host {
            Some(host) => request.insert_header(header::HOST, host.clone())?,
            // HTTP/1.0 may come without one, HTTP/1.1 may not go without.
            None if passage.host.is_none() => request.insert_header(header::HOST, backend.authority.clone())?,
            None => {}
        }
        Ok(())
    }
}

fn address(ip: ClientIp) -> pingora::Result<HeaderValue> {
    value(&ip.to_string())
}

fn value(text: &str) -> pingora::Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Error::explain(ErrorType::InternalError, "not a header value"))
}

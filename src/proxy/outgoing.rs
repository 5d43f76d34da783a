//! What menshen adds to a request for the backend: who is calling, from where, under which id, and the proof of it.
//!
//! Must stay true: it runs after the client's headers have been filtered, on both ways to the backend, and replaces, never
//! appends.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pingora::{Error, ErrorType, OrErr, http::RequestHeader};

use super::upstream::Backend;
use crate::{
    auth::Proofs,
    config::UpstreamConfig,
    gate::AdmittedRequest,
    policy::headers::{AUTH_ASSERTION_NAME, AUTH_STATE_NAME},
    token::NotSigned,
    types::{ClientIp, Timestamp},
};

/// More than any address is long, so that a text of it is shared and not copied.
const MAX_ADDRESS_BYTES: usize = 48;

/// The fault where a proof could not be made.
pub(super) const NO_PROOF: ErrorType = ErrorType::Custom("NoProof");

/// What every request to a backend has, whichever client it is for: requests of clients, and those that menshen makes itself
/// (health checks, `menshen doctor`).
#[derive(Debug)]
pub(super) struct FixedFields {
    /// `Host` for the backend; `None`: the client's own.
    host: Option<HeaderValue>,
    /// `Host` of what menshen asks by itself, where there is none for every request.
    own_host: Option<HeaderValue>,
    /// By which the backend knows menshen.
    secret: Option<(HeaderName, HeaderValue)>,
}

impl FixedFields {
    pub(super) fn new(config: &UpstreamConfig) -> Self {
        // What is no header name or value, the checks of the config have refused.
        let host = |text: &Option<String>| text.as_deref().and_then(|host| HeaderValue::from_str(host).ok());
        let secret = config.shared_secret.as_ref().and_then(|secret| {
            let name = HeaderName::try_from(&config.shared_secret_header).ok()?;
            let mut value = HeaderValue::try_from(secret.expose()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        Self { host: host(&config.host), own_host: host(&config.health.host), secret }
    }

    /// Sets them on a request of a client, whose own `Host` is kept where the config has none.
    fn add_to_forwarded(&self, request: &mut RequestHeader, has_host: bool, backend: &Backend) -> pingora::Result<()> {
        if let Some((name, value)) = &self.secret {
            request.insert_header(name, value.clone())?;
        }
        match &self.host {
            Some(host) => request.insert_header(header::HOST, host.clone()),
            // HTTP/1.0 may come without one, HTTP/1.1 may not go without.
            None if !has_host => request.insert_header(header::HOST, backend.authority.clone()),
            None => Ok(()),
        }
    }

    /// The key of the config that says which `Host` a request of menshen's own has.
    pub(super) const fn host_key(&self) -> &'static str {
        if self.host.is_some() { "upstream.host" } else { "upstream.health.host" }
    }

    /// Sets them on a request of menshen's own.
    pub(super) fn add_to_own(&self, request: &mut RequestHeader, backend: &Backend) -> pingora::Result<()> {
        self.add_to_forwarded(request, false, backend)?;
        match (&self.host, &self.own_host) {
            (None, Some(host)) => request.insert_header(header::HOST, host.clone()),
            (Some(_), _) | (None, None) => Ok(()),
        }
    }
}

/// Sets our headers.
pub(super) struct Outgoing {
    fixed: FixedFields,
    proofs: Proofs,
    authenticated: HeaderValue,
    anonymous: HeaderValue,
    http: HeaderValue,
    https: HeaderValue,
}

impl Outgoing {
    /// Most fields that are set.
    pub(super) const FIELDS: usize = 18;

    pub(super) fn new(config: &UpstreamConfig, proofs: Proofs) -> Self {
        Self {
            fixed: FixedFields::new(config),
            proofs,
            authenticated: HeaderValue::from_static("authenticated"),
            anonymous: HeaderValue::from_static("anonymous"),
            http: HeaderValue::from_static("http"),
            https: HeaderValue::from_static("https"),
        }
    }

    /// Who is calling, and that it is menshen who says so: what a proxy that asks is told as well.
    pub(super) fn identity<E>(
        &self,
        passage: &AdmittedRequest,
        mut set: impl FnMut(HeaderName, HeaderValue) -> Result<(), E>,
    ) -> Result<(), E> {
        let identity = passage.identity.as_ref();
        for (name, value) in identity.iter().flat_map(|identity| &identity.headers) {
            set(name.clone(), value.clone())?;
        }
        let state = if identity.is_some() { &self.authenticated } else { &self.anonymous };
        set(AUTH_STATE_NAME, state.clone())
    }

    /// What is signed about the caller: the assertion, and the token in the backend's own form. Nothing of who is anonymous.
    pub(super) fn signed(
        &self,
        passage: &AdmittedRequest,
        now: Timestamp,
    ) -> Result<[Option<(HeaderName, HeaderValue)>; 2], NotSigned> {
        let Some(identity) = &passage.identity else { return Ok([None, None]) };
        let assertion = self.proofs.assertion(identity, now)?.map(|value| (AUTH_ASSERTION_NAME, value));
        let minted = self.proofs.minted(identity, now)?.map(|(name, value)| (name.clone(), value));
        Ok([assertion, minted])
    }

    /// Sets them on a request whose own headers have been filtered.
    pub(super) fn add(
        &self,
        request: &mut RequestHeader,
        passage: &AdmittedRequest,
        request_id: &str,
        backend: &Backend,
        now: Timestamp,
    ) -> pingora::Result<()> {
        self.identity(passage, |name, value| request.insert_header(name, value))?;
        for (name, value) in self.signed(passage, now).or_err(NO_PROOF, "a proof")?.into_iter().flatten() {
            request.insert_header(name, value)?;
        }
        if let Some(cookie) = &passage.forward.cookie {
            request.insert_header(header::COOKIE, cookie.clone())?;
        }
        let client = address(passage.origin.ip)?;
        request.insert_header("X-Forwarded-For", client.clone())?;
        // A gate that only reports lets a proxy's own pass, on which the backend may hang.
        if passage.log.dry_run.is_none() || !request.headers.contains_key("x-real-ip") {
            request.insert_header("X-Real-IP", client)?;
        }
        request.insert_header("X-Forwarded-Proto", if passage.origin.https { &self.https } else { &self.http }.clone())?;
        // It was forwarded as it came, and ours is set below.
        if let Some(host) = request.headers.get(header::HOST).filter(|_| passage.forward.host.is_some()).cloned() {
            request.insert_header("X-Forwarded-Host", host)?;
        }
        request.insert_header("X-Request-Id", value(request_id)?)?;
        self.fixed.add_to_forwarded(request, passage.forward.host.is_some(), backend)
    }
}

/// The address as a value, whose copies share its bytes: so two headers cost as many allocations as one.
fn address(ip: ClientIp) -> pingora::Result<HeaderValue> {
    let mut text = Vec::with_capacity(MAX_ADDRESS_BYTES);
    write!(text, "{ip}").or_err(ErrorType::InternalError, "an address")?;
    HeaderValue::from_maybe_shared(Bytes::from(text)).or_err(ErrorType::InternalError, "not a header value")
}

fn value(text: &str) -> pingora::Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Error::explain(ErrorType::InternalError, "not a header value"))
}

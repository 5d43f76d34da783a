//! What every request to a backend says, whichever it is for. `authority`: host and port of the
//! backend.

use http::{HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;

use crate::config::UpstreamConfig;

/// A header field of menshen's.
pub(in crate::proxy) type HeaderField = (HeaderName, HeaderValue);

/// The fields that every request to a backend has, whichever client it is for: requests of clients,
/// and those that menshen makes itself (health checks, `menshen doctor`).
#[derive(Debug)]
pub(in crate::proxy) struct FixedFields {
    /// `Host` for the backend; `None`: the client's own.
    host: Option<HeaderValue>,
    /// `Host` of menshen's own requests, where there is none for every request.
    probe_host: Option<HeaderValue>,
    /// By which the backend knows menshen.
    secret: Option<HeaderField>,
}

impl FixedFields {
    pub(in crate::proxy) fn new(config: &UpstreamConfig) -> Self {
        // What is no header name or value, the checks of the config have refused.
        let host = |text: &Option<String>| {
            text.as_deref()
                .and_then(|host| HeaderValue::from_str(host).ok())
        };
        let secret = config.shared_secret.as_ref().and_then(|secret| {
            let name = HeaderName::try_from(&config.shared_secret_header).ok()?;
            let mut value = HeaderValue::try_from(secret.expose()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        Self {
            host: host(&config.host),
            probe_host: host(&config.health.host),
            secret,
        }
    }

    /// Those of a request of a client, whose own `Host` is kept where the config has none.
    pub(in crate::proxy) fn for_client(
        &self,
        has_host: bool,
        authority: &HeaderValue,
    ) -> impl Iterator<Item = HeaderField> {
        let host = match &self.host {
            Some(host) => Some(host.clone()),
            // HTTP/1.0 may come without one, HTTP/1.1 may not go without.
            None if !has_host => Some(authority.clone()),
            None => None,
        };
        self.secret
            .clone()
            .into_iter()
            .chain(host.map(|host| (header::HOST, host)))
    }

    /// The key of the config that says which `Host` a request of menshen's own has.
    pub(in crate::proxy) const fn host_key(&self) -> &'static str {
        if self.host.is_some() {
            "upstream.host"
        } else {
            "upstream.health.host"
        }
    }

    /// Sets them on a request of menshen's own.
    pub(in crate::proxy) fn add_to_probe(
        &self,
        request: &mut RequestHeader,
        authority: &HeaderValue,
    ) -> pingora::Result<()> {
        for (name, value) in self.for_client(false, authority) {
            request.insert_header(name, value)?;
        }
        match (&self.host, &self.probe_host) {
            (None, Some(host)) => request.insert_header(header::HOST, host.clone()),
            (Some(_), _) | (None, None) => Ok(()),
        }
    }
}

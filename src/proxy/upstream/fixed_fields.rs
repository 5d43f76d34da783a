//! Header fields of every request to a backend: `Host` and the shared secret.

use http::{HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;

use crate::{config::UpstreamConfig, proxy::local_response::HeaderField};

/// The fields of every request to a backend: of clients' requests, and of menshen's own probes
/// (health checks, `menshen doctor`). `authority` is the backend's host and port.
#[derive(Debug)]
pub(in crate::proxy) struct FixedFields {
    /// The configured `Host`. `None`: the client's.
    host: Option<HeaderValue>,
    /// The configured `Host` of probes, if there is none for all requests.
    probe_host: Option<HeaderValue>,
    /// Proves to the backend that a request comes from menshen.
    secret: Option<HeaderField>,
}

impl FixedFields {
    pub(in crate::proxy) fn new(config: &UpstreamConfig) -> Self {
        // The config validation has rejected invalid names and values.
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

    /// The fields for a client's request. Its own `Host` is kept if the config has none.
    pub(in crate::proxy) fn for_client(
        &self,
        has_host: bool,
        authority: &HeaderValue,
    ) -> impl Iterator<Item = HeaderField> {
        let host = match &self.host {
            Some(host) => Some(host.clone()),
            // An HTTP/1.0 request may have none, but HTTP/1.1 requires one.
            None if !has_host => Some(authority.clone()),
            None => None,
        };
        self.secret
            .clone()
            .into_iter()
            .chain(host.map(|host| (header::HOST, host)))
    }

    /// The config key that sets the `Host` of probes.
    pub(in crate::proxy) const fn host_key(&self) -> &'static str {
        if self.host.is_some() {
            "upstream.host"
        } else {
            "upstream.health.host"
        }
    }

    /// Sets the fields on a probe.
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

//! The API of a vendor: its address, and requests to it whose headers are signed.

use std::time::Duration;

use bytes::Bytes;
use http::request;
use reqwest::Url;

use super::{error::SmsSetupError, vendor_error::VendorError};
use crate::outbound::Outbound;

/// Where a vendor is called.
pub(super) struct Endpoint {
    outbound: Outbound,
    url: Url,
    /// The value of `Host`, which is signed.
    host: String,
}

impl Endpoint {
    /// From a key of the config and its value.
    pub(super) fn new((key, text): (&'static str, &str)) -> Result<Self, SmsSetupError> {
        let url = Url::parse(text)
            .ok()
            .filter(Url::has_host)
            .ok_or(SmsSetupError::NoUrl(key))?;
        let host = url.host_str().unwrap_or_default();
        let host = url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self {
            outbound: Outbound::new(&url)?,
            url,
            host,
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// A `POST` with these headers and their signature. `target`: `/` and perhaps a query.
    pub(super) fn post(
        &self,
        target: &str,
        headers: &[(&str, &str)],
        authorization: String,
    ) -> request::Builder {
        let url = format!("{}://{}{target}", self.url.scheme(), self.host);
        let request = http::Request::post(url).header("authorization", authorization);
        headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    }

    /// The response to a request, within `limit`.
    pub(super) async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, VendorError> {
        Ok(self.outbound.send(request, limit).await?)
    }
}

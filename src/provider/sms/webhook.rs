//! The operator's own server that sends the message: one signed `POST`.
//!
//! Its address comes from the config alone. Redirects are not followed, and unless the config
//! allows it no private address is connected to, so that the owner of a DNS name cannot point
//! menshen at internal servers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use reqwest::Url;
use serde::Serialize;

use super::{
    error::SmsSetupError,
    message::SmsMessage,
    rejection_class::RejectionClass,
    settings::{required, required_secret},
    vendor_error::VendorError,
};
use crate::{
    config::WebhookConfig,
    outbound::{Outbound, is_private_address},
    provider::signature::signed_post,
    types::Secret,
};

/// `Retry-After` of a 429 without a number of seconds.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_mins(1);
/// Longest `Retry-After` that is trusted.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The client of the webhook.
pub(super) struct Webhook {
    outbound: Outbound,
    url: Secret<String>,
    secret: Secret<String>,
}

#[derive(Serialize)]
struct WebhookRequest<'a> {
    id: &'a str,
    phone: &'a str,
    code: &'a str,
    purpose: &'static str,
    /// Seconds.
    expires_in: u64,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, SmsSetupError> {
        let key = "sms.webhook.url";
        let url =
            Url::parse(&required((key, &config.url))?).map_err(|_| SmsSetupError::NoUrl(key))?;
        let secret = required_secret(("sms.webhook.secret", &config.secret))?;
        let outbound = if config.allow_private {
            Outbound::new(&url)?
        } else if is_private_address(&url) {
            return Err(SmsSetupError::PrivateAddress);
        } else {
            Outbound::to_public()?
        };
        Ok(Self {
            outbound,
            url: Secret::new(url.into()),
            secret,
        })
    }

    pub(super) async fn send(
        &self,
        message: &SmsMessage<'_>,
        limit: Duration,
    ) -> Result<(), VendorError> {
        let response = self.outbound.send(self.request(message)?, limit).await?;
        let status = response.status();
        let class = match status {
            _ if status.is_success() => return Ok(()),
            StatusCode::TOO_MANY_REQUESTS => {
                RejectionClass::RateLimited(retry_after(response.headers()))
            }
            // A proxy in between may say so of a message that was accepted.
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
                return Err(VendorError::UnreadableResponse(status));
            }
            _ if status.is_client_error() => RejectionClass::Config,
            // Also a redirect: it may come after the message was accepted.
            _ => return Err(VendorError::UnreadableResponse(status)),
        };
        Err(VendorError::rejected(class, status.as_str(), message.id))
    }

    fn request(&self, message: &SmsMessage<'_>) -> Result<http::Request<Bytes>, VendorError> {
        let body = WebhookRequest {
            id: message.id,
            phone: message.phone.as_str(),
            code: message.code.expose(),
            purpose: message.purpose.as_str(),
            expires_in: message.ttl.as_secs(),
        };
        let body = serde_json::to_vec(&body).map_err(|_| VendorError::RequestNotBuilt)?;
        Ok(signed_post(
            &self.url,
            &self.secret,
            message.id,
            message.now,
            body,
        )?)
    }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(DEFAULT_RETRY_AFTER, |seconds| {
        Duration::from_secs(seconds).min(MAX_RETRY_AFTER)
    })
}

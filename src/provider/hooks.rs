//! Hooks: requests and notifications to the backend, each a signed `POST` of JSON.
//!
//! `docs/hooks.md` is the contract. The address comes from the config alone and redirects are not
//! followed; a message has one total timeout and few retries, all with one idempotency key, so the
//! backend may repeat its response.
//!
//! Must stay true: a response is hostile input, bounded and checked. No log line, error or label
//! has personal data but the user's id.

mod created_response;
mod error;
mod payload;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use reqwest::Url;
use tokio::sync::Semaphore;

pub use created_response::{CreatedResponse, CreatedResponseRules};
pub use error::{HookError, HooksSetupError};
pub use payload::{HookNotification, LoginNotification, NewUserRequest};

use super::signature::signed_post;
use crate::{
    clock::Clock,
    config::{HookEvent, HookShare, HooksConfig},
    metrics::Metrics,
    outbound::Outbound,
    types::Secret,
};

/// The backoff before the first retry; it doubles.
const MIN_BACKOFF: Duration = Duration::from_millis(100);

/// The client of the backend's hooks.
pub struct Hooks {
    outbound: Outbound,
    url: Secret<String>,
    secret: Secret<String>,
    share: Vec<HookShare>,
    rules: CreatedResponseRules,
    timeout: Duration,
    attempts: u32,
    /// Permits for first logins that wait for the backend.
    waiting: Semaphore,
    clock: Clock,
    metrics: Metrics,
}

impl Hooks {
    /// From the config; `None`: no hooks are configured.
    pub fn new(
        config: &HooksConfig,
        rules: CreatedResponseRules,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Option<Self>, HooksSetupError> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let url = Url::parse(url).map_err(|_| HooksSetupError::NoUrl)?;
        let secret = config.secret.as_ref().ok_or(HooksSetupError::NoSecret)?;
        Ok(Some(Self {
            outbound: Outbound::to_backend(&url)?,
            url: Secret::new(url.into()),
            secret: Secret::new(secret.expose().clone()),
            share: config.share.clone(),
            rules,
            timeout: config.timeout.get(),
            attempts: config.attempts,
            waiting: Semaphore::new(config.max_waiting),
            clock,
            metrics,
        }))
    }

    /// The total timeout of one message.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks for the id of a new user and further claims of their tokens.
    pub async fn request_user_id(
        &self,
        person: &NewUserRequest<'_>,
    ) -> Result<CreatedResponse, HookError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            let (event, class) = (HookEvent::UserCreated.as_str(), HookError::Busy.class());
            self.metrics.hook_call(event, class, Duration::ZERO);
            return Err(HookError::Busy);
        };
        let message = payload::user_created(person, &self.share, self.clock.now());
        self.deliver(&message, |body| CreatedResponse::read(body, self.rules))
            .await
    }

    /// Sends a notification.
    pub async fn notify(&self, notification: &HookNotification<'_>) -> Result<(), HookError> {
        let message = payload::notification(notification, &self.share);
        self.deliver(&message, |_| Ok(())).await
    }

    /// Sends until there is a response, or the timeout or the attempts are used up.
    async fn deliver<T>(
        &self,
        message: &payload::HookPayload<'_>,
        read: impl Fn(&[u8]) -> Result<T, HookError>,
    ) -> Result<T, HookError> {
        let started = Instant::now();
        let mut outcome = Err(HookError::Timeout);
        for attempt in 1..=self.attempts {
            let left = self.timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            outcome = self.send(message, left).await.and_then(|body| read(&body));
            let pause = MIN_BACKOFF.saturating_mul(1 << (attempt - 1));
            let may_repeat = matches!(&outcome, Err(error) if error.is_retryable());
            if !may_repeat
                || attempt == self.attempts
                || self.timeout.saturating_sub(started.elapsed()) <= pause
            {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        let class = outcome.as_ref().err().map_or("ok", |error| error.class());
        self.metrics
            .hook_call(message.event(), class, started.elapsed());
        outcome
    }

    async fn send(
        &self,
        message: &payload::HookPayload<'_>,
        limit: Duration,
    ) -> Result<Bytes, HookError> {
        let body = serde_json::to_vec(message).map_err(|_| HookError::RequestNotBuilt)?;
        let mut request = signed_post(
            &self.url,
            &self.secret,
            message.id(),
            self.clock.now(),
            body,
        )
        .map_err(|_| HookError::RequestNotBuilt)?;
        request.headers_mut().insert(
            "x-menshen-event",
            http::HeaderValue::from_static(message.event()),
        );
        let response = self.outbound.send(request, limit).await?;
        match response.status() {
            status if status.is_success() => Ok(response.into_body()),
            StatusCode::FORBIDDEN => Err(HookError::Refused),
            status => Err(HookError::Status(status)),
        }
    }
}

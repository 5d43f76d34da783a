//! Hooks: what the backend is asked and told, each one signed `POST` of JSON.
//!
//! `docs/hooks.md` is the contract. The address comes from the config alone and redirects are not
//! followed; a message has one total time and few repeats, all with one idempotency key, so the
//! backend may answer a repeat as it answered before.
//!
//! Must stay true: an answer is hostile input, bounded and checked, as any other. No log line,
//! error or label says anything of a person but our own id.

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

use super::signature::{SecretUrl, signed_post};
use crate::{
    clock::Clock,
    config::{HookEvent, HookShare, HooksConfig},
    metrics::Metrics,
    outbound::Outbound,
    types::Secret,
};

/// The pause before the first repeat; it doubles.
const MIN_BACKOFF: Duration = Duration::from_millis(100);

/// The backend, as hooks see it.
pub struct Hooks {
    outbound: Outbound,
    url: SecretUrl,
    secret: Secret<String>,
    share: Vec<HookShare>,
    rules: CreatedResponseRules,
    timeout: Duration,
    attempts: u32,
    /// Places for first logins that wait.
    waiting: Semaphore,
    clock: Clock,
    metrics: Metrics,
}

impl Hooks {
    /// As the config has them; `None`: the backend is asked and told nothing.
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
            url: SecretUrl(url),
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

    /// How long one message may take, all of it.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks under which id a new user is to be known, and what their tokens are to say besides.
    pub async fn request_user_id(
        &self,
        person: &NewUserRequest<'_>,
    ) -> Result<CreatedResponse, HookError> {
        let event = HookEvent::UserCreated;
        let Ok(_place) = self.waiting.try_acquire() else {
            self.metrics
                .hook_call(event.as_str(), HookError::Busy.class(), Duration::ZERO);
            return Err(HookError::Busy);
        };
        let message = payload::user_created(person, &self.share, self.clock.now());
        self.deliver(event, &message, |body| {
            CreatedResponse::read(body, self.rules)
        })
        .await
    }

    /// Tells of something that has happened.
    pub async fn notify(&self, notification: &HookNotification<'_>) -> Result<(), HookError> {
        let message = payload::notification(notification, &self.share);
        self.deliver(notification.event(), &message, |_| Ok(()))
            .await
    }

    /// Sends until there is an answer, the time is over, or the attempts are.
    async fn deliver<T>(
        &self,
        event: HookEvent,
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
            .hook_call(event.as_str(), class, started.elapsed());
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

//! Hooks: what the backend is asked and told, each one signed `POST` of JSON.
//!
//! `docs/hooks.md` is the contract. The address comes from the config alone and redirects are not
//! followed; a message has one total time and few repeats, all with one idempotency key, so the
//! backend may answer a repeat as it answered before.
//!
//! Must stay true: an answer is hostile input, bounded and checked, as any other. No log line,
//! error or label says anything of a person but our own id.

mod created_response;
mod payload;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use reqwest::Url;
use tokio::sync::Semaphore;

pub use created_response::{CreatedResponse, CreatedResponseRules};
pub use payload::{HookNotification, LoginNotification, NewUserRequest};

use super::signature::{SecretUrl, signed_post};
use crate::{
    clock::Clock,
    config::{HookEvent, HookShare, HooksConfig},
    metrics::Metrics,
    outbound::{ClientError, Outbound, OutboundError},
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

/// Why there is no answer that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// Too many wait for the backend already: nothing was sent.
    #[error("too many wait for the backend")]
    Busy,
    #[error("the backend cannot be reached")]
    Unreachable,
    #[error("the backend gave no answer in time")]
    Timeout,
    /// 403: the backend does not want this user.
    #[error("the backend refuses")]
    Refused,
    /// Any other status but 2xx; a redirect is one too.
    #[error("the backend answered {0}")]
    Status(StatusCode),
    /// Not HTTP, too long, or not what docs/hooks.md says.
    #[error("the backend's answer cannot be used")]
    Unusable,
    /// An id that menshen could give to somebody else.
    #[error("the backend's id is not below users.first_integer")]
    IdsOverlap,
    /// The message could not be written, which only a bug does.
    #[error("the message could not be made")]
    RequestNotBuilt,
}

/// The config names no hooks that could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HooksSetupError {
    #[error("hooks.url is not a URL")]
    NoUrl,
    #[error("hooks.secret is missing")]
    NoSecret,
    #[error(transparent)]
    NoClient(#[from] ClientError),
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
        let answer = self.outbound.send(request, limit).await?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            StatusCode::FORBIDDEN => Err(HookError::Refused),
            status => Err(HookError::Status(status)),
        }
    }
}

impl HookError {
    /// What it is in metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Status(status) if status.is_redirection() => "redirect",
            Self::Status(status) if status.is_server_error() => "server_error",
            Self::Status(_) => "client_error",
            Self::Unusable | Self::IdsOverlap | Self::RequestNotBuilt => "unusable",
        }
    }

    /// Whether the same message may fare better in a moment.
    fn is_retryable(self) -> bool {
        match self {
            Self::Unreachable => true,
            Self::Status(status) => {
                status.is_server_error()
                    || matches!(
                        status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            Self::Busy
            | Self::Timeout
            | Self::Refused
            | Self::Unusable
            | Self::IdsOverlap
            | Self::RequestNotBuilt => false,
        }
    }
}

impl From<OutboundError> for HookError {
    fn from(fault: OutboundError) -> Self {
        match fault {
            OutboundError::Connect | OutboundError::Broken => Self::Unreachable,
            OutboundError::Timeout => Self::Timeout,
            OutboundError::TooLarge => Self::Unusable,
        }
    }
}

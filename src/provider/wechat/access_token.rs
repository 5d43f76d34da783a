//! The access token of a mini program, which WeChat's business APIs require.
//!
//! Source: `POST /cgi-bin/stable_token`, developers.weixin.qq.com, "getStableAccessToken". In
//! normal mode it returns the same token to all callers until the last five minutes of its
//! lifetime, then a new one beside it, so replicas need no lock and do not invalidate each other's
//! token. The other mode, `force_refresh`, does, and is never used.
//!
//! Must stay true: each mini program has one cache, and a cache has one fetch running at most, a
//! [`SingleFlight`], so that a cancelled caller takes nothing from the others. A token does not
//! print.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{
    WechatError, WechatRejection,
    api::Api,
    api_client::{ApiClient, Request},
};
use crate::{
    clock::Clock,
    crypto,
    entropy::Entropy,
    single_flight::{Progress, SingleFlight},
    types::{AppId, Secret, Timestamp},
};

const API: Api = Api::StableToken;
/// A token is renewed so long before its expiry: by then WeChat gives a new one, and still accepts
/// the old.
const RENEW_BEFORE_END: Duration = Duration::from_mins(4);
/// Jitter of the renewal, so that replicas do not all renew at once; WeChat gives a new token from
/// 300 s before the expiry.
const MAX_JITTER_MILLIS: u16 = 60_000;
/// A token is not used so close to its expiry: it has to arrive, and clocks differ.
const LAST_USE_BEFORE_END: Duration = Duration::from_secs(30);
/// A token is not renewed ahead of its expiry more often than this.
const MIN_RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Longest lifetime of a token: two hours, as documented.
const MAX_LIFETIME: Duration = Duration::from_hours(2);
/// Longest token in bytes, as documented.
const MAX_TOKEN_LEN: usize = 512;

/// The cached token of one mini program.
#[derive(Clone)]
pub(super) struct AccessTokenCache(Arc<Inner>);

struct Inner {
    app_id: AppId,
    secret: Secret<String>,
    timeout: Duration,
    api: Arc<ApiClient>,
    clock: Clock,
    entropy: Entropy,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    cached: Option<CachedAccessToken>,
    fetch: Option<SingleFlight<FetchResult>>,
}

struct CachedAccessToken {
    token: Secret<String>,
    renew_from: Timestamp,
    good_until: Timestamp,
}

type FetchResult = Result<Secret<String>, WechatError>;

#[derive(Deserialize)]
struct StableToken {
    access_token: String,
    /// Seconds.
    expires_in: u64,
}

impl AccessTokenCache {
    pub(super) fn new(
        app_id: &AppId,
        secret: &Secret<String>,
        api: Arc<ApiClient>,
        timeout: Duration,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let (app_id, secret) = (app_id.clone(), secret.clone());
        Self(Arc::new(Inner {
            app_id,
            secret,
            timeout,
            api,
            clock,
            entropy,
            state: Mutex::default(),
        }))
    }

    /// A valid token. One that is due for renewal is returned too, and renewed in the background.
    pub(super) async fn token(&self, deadline: Instant) -> FetchResult {
        let now = self.0.clock.monotonic();
        let fetch = {
            let mut state = self.0.state();
            if let Some(cached) = state
                .cached
                .as_ref()
                .filter(|cached| now < cached.good_until)
            {
                let token = cached.token.clone();
                if now >= cached.renew_from {
                    self.fetch(&mut state);
                }
                return Ok(token);
            }
            self.fetch(&mut state)
        };
        fetched(fetch, deadline).await
    }

    /// A replacement of this token, which WeChat has rejected.
    pub(super) async fn replace(
        &self,
        rejected: &Secret<String>,
        deadline: Instant,
    ) -> FetchResult {
        let fetch = {
            let mut state = self.0.state();
            match &state.cached {
                Some(cached) if !is_same(&cached.token, rejected) => {
                    return Ok(cached.token.clone());
                }
                Some(_) | None => {
                    state.cached = None;
                    self.fetch(&mut state)
                }
            }
        };
        let token = fetched(fetch, deadline).await?;
        if is_same(&token, rejected) {
            let app_id = &self.0.app_id;
            tracing::error!(wechat.api = API.name(), %app_id, "WeChat gives {app_id} an access token that it refuses");
            return Err(WechatError::Misconfigured);
        }
        Ok(token)
    }

    /// Fetches a token and drops it, to check the credentials. In normal mode that invalidates no
    /// token.
    pub(super) async fn check_credentials(&self, deadline: Instant) -> Result<(), WechatRejection> {
        self.0
            .api
            .call(API, &self.0.request(), deadline, StableToken::checked)
            .await
            .map(drop)
            .map_err(|error| error.into_rejection(API))
    }

    /// The fetch that is running, or a new one.
    fn fetch(&self, state: &mut CacheState) -> SingleFlight<FetchResult> {
        let running = state
            .fetch
            .take()
            .filter(|fetch| matches!(fetch.progress(), Progress::Running));
        let fetch = running.unwrap_or_else(|| {
            let inner = Arc::clone(&self.0);
            SingleFlight::start(async move { inner.ask().await })
        });
        state.fetch.insert(fetch).clone()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches a token and caches it.
    async fn ask(&self) -> FetchResult {
        let asked_at = self.clock.monotonic();
        let deadline = Instant::now() + self.timeout;
        let answered = self
            .api
            .call(API, &self.request(), deadline, StableToken::checked)
            .await;
        let mut state = self.state();
        state.fetch = None;
        match answered {
            Ok((token, life)) => {
                state.cached = Some(self.cached(token.clone(), asked_at, life));
                Ok(token)
            }
            Err(error) => {
                if let Some(cached) = &mut state.cached {
                    cached.renew_from = self.clock.monotonic().plus(MIN_RENEWAL_INTERVAL);
                }
                Err(error.into_rejection(API).why)
            }
        }
    }

    /// JSON: WeChat responds to a form with 41002.
    fn request(&self) -> Request {
        let body = json!({
            "grant_type": "client_credential",
            "appid": self.app_id.as_str(),
            "secret": self.secret.expose(),
        });
        Request::Post(self.api.url(API), Bytes::from(body.to_string()))
    }

    fn cached(&self, token: Secret<String>, since: Timestamp, life: Duration) -> CachedAccessToken {
        // Without random bytes replicas renew at once, which does no harm.
        let random = self.entropy.bytes().map_or(0, u16::from_be_bytes);
        let early = RENEW_BEFORE_END + Duration::from_millis((random % MAX_JITTER_MILLIS).into());
        let renew_from = since.plus(life.saturating_sub(early).max(MIN_RENEWAL_INTERVAL));
        let good_until = since.plus(life.saturating_sub(LAST_USE_BEFORE_END));
        CachedAccessToken {
            token,
            renew_from,
            good_until,
        }
    }
}

impl StableToken {
    fn checked(self) -> Result<(Secret<String>, Duration), WechatError> {
        let token = self.access_token;
        let plausible = (1..=MAX_TOKEN_LEN).contains(&token.len())
            && token.bytes().all(|b| b.is_ascii_graphic());
        if !plausible || self.expires_in == 0 {
            return Err(WechatError::Unusable);
        }
        let life = Duration::from_secs(self.expires_in).min(MAX_LIFETIME);
        Ok((Secret::new(token), life))
    }
}

fn is_same(one: &Secret<String>, other: &Secret<String>) -> bool {
    crypto::constant_time_eq(one.expose().as_bytes(), other.expose().as_bytes())
}

/// The result of a fetch, if it comes in time.
async fn fetched(fetch: SingleFlight<FetchResult>, deadline: Instant) -> FetchResult {
    match tokio::time::timeout_at(deadline.into(), fetch.result()).await {
        Ok(Some(result)) => result,
        Ok(None) => Err(WechatError::Unusable),
        Err(_) => Err(WechatError::Timeout),
    }
}

//! Calls of WeChat: timeout, one retry when WeChat is busy, metrics.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use reqwest::Url;
use serde::de::DeserializeOwned;

use super::{
    api::{Api, CallError},
    errcode::{WechatError, WechatRejection},
    response,
    setup::WechatSetupError,
};
use crate::{
    metrics::Metrics,
    outbound::{Outbound, OutboundError, OutboundResponse},
};

/// How long WeChat gets to recover from "system busy" before the retry.
const BUSY_RETRY_DELAY: Duration = Duration::from_millis(200);

pub(super) enum Request {
    Get(Url),
    /// A JSON body.
    Post(Url, Bytes),
}

/// The HTTP client of WeChat.
pub(super) struct ApiClient {
    outbound: Outbound,
    base: Url,
    metrics: Metrics,
}

impl ApiClient {
    pub(super) fn new(base: &Url, metrics: Metrics) -> Result<Self, WechatSetupError> {
        Ok(Self {
            outbound: Outbound::new(base)?,
            base: base.clone(),
            metrics,
        })
    }

    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The URL of an API, without parameters.
    pub(super) fn url(&self, api: Api) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}{}",
            self.base.path().trim_end_matches('/'),
            api.path()
        ));
        url
    }

    /// Calls an API, and retries once when WeChat is busy and there is time; nothing else is
    /// retried here. `understand` converts a success, or rejects it as unusable.
    pub(super) async fn call<W: DeserializeOwned, T>(
        &self,
        api: Api,
        request: &Request,
        deadline: Instant,
        understand: impl Fn(W) -> Result<T, WechatError>,
    ) -> Result<T, CallError> {
        let ask = async || {
            let started = Instant::now();
            let limit = deadline.saturating_duration_since(started);
            let result = match self.send(request, limit).await {
                Ok(response) => response::read(api, &response).and_then(|value| {
                    understand(value).map_err(|error| {
                        tracing::warn!(
                            wechat.api = api.name(),
                            "WeChat's response is not what it should be"
                        );
                        CallError::from(error)
                    })
                }),
                Err(fault) => {
                    tracing::warn!(wechat.api = api.name(), fault = %fault, "WeChat gave no response: {fault}");
                    Err(WechatError::from(fault).into())
                }
            };
            let class = result.as_ref().map_or_else(|error| error.class(), |_| "ok");
            self.metrics
                .wechat_call(api.name(), class, started.elapsed());
            result
        };
        let first = ask().await;
        let is_busy = matches!(
            first,
            Err(CallError::Failed(WechatRejection {
                why: WechatError::Busy { .. },
                ..
            }))
        );
        let has_time = deadline.saturating_duration_since(Instant::now()) > BUSY_RETRY_DELAY;
        if !(is_busy && has_time) {
            return first;
        }
        tokio::time::sleep(BUSY_RETRY_DELAY).await;
        ask().await
    }

    async fn send(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Result<OutboundResponse, OutboundError> {
        match request {
            Request::Get(url) => self.outbound.get(url.clone(), limit).await,
            Request::Post(url, body) => {
                let mut post = http::Request::post(url.as_str())
                    .body(body.clone())
                    .map_err(|_| OutboundError::Broken)?;
                post.headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let (head, body) = self.outbound.send(post, limit).await?.into_parts();
                Ok(OutboundResponse {
                    status: head.status,
                    body,
                })
            }
        }
    }
}

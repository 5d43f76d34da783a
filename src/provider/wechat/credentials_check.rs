//! A check of the credentials of each mini program, without a user.

use std::time::{Duration, Instant};

use super::{Wechat, WechatClient, WechatError, WechatRejection};
use crate::types::AppId;

impl Wechat {
    /// Fetches an access token for each mini program, concurrently within `limit`, and drops it.
    /// `None` for one without tokens (`wechat.token_mode = "none"`). Empty in development without a
    /// network.
    pub async fn check_credentials(
        &self,
        limit: Duration,
    ) -> Vec<(AppId, Option<Result<(), WechatRejection>>)> {
        let WechatClient::Live(live) = &self.client else {
            return Vec::new();
        };
        let deadline = Instant::now() + limit.min(live.timeout);
        let mut running = Vec::new();
        for app in &live.apps {
            let check = app.tokens.clone().map(|tokens| {
                tokio::spawn(async move { tokens.check_credentials(deadline).await })
            });
            running.push((app.app_id.clone(), check));
        }
        let mut results = Vec::new();
        for (app_id, check) in running {
            let result = match check {
                None => None,
                Some(check) => Some(check.await.unwrap_or(Err(WechatError::Unusable.into()))),
            };
            results.push((app_id, result));
        }
        results
    }
}

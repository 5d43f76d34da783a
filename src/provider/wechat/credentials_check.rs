//! Whether WeChat takes the credentials of each mini program, without a user.

use std::time::{Duration, Instant};

use super::{Errcode, Wechat, WechatClient, WechatError, api::Api};
use crate::types::AppId;

/// Why WeChat gave no access token, with its own number where it gave one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct CredentialsRejection {
    pub why: WechatError,
    pub errcode: Option<Errcode>,
}

impl Wechat {
    /// Asks for an access token of each mini program, all at once within `limit`, and forgets it.
    /// `None` for one that asks for no token (`wechat.token_mode = "none"`). Empty in development,
    /// which asks nobody.
    pub async fn check_credentials(
        &self,
        limit: Duration,
    ) -> Vec<(AppId, Option<Result<(), CredentialsRejection>>)> {
        let WechatClient::Live(live) = &self.client else {
            return Vec::new();
        };
        let deadline = Instant::now() + limit.min(live.timeout);
        let mut under_way = Vec::new();
        for app in &live.apps {
            let tokens = app.tokens.clone();
            let trial = tokens.map(|tokens| {
                tokio::spawn(async move { tokens.check_credentials(deadline).await })
            });
            under_way.push((app.app_id.clone(), trial));
        }
        let mut tried = Vec::new();
        for (app_id, trial) in under_way {
            let result = match trial {
                None => None,
                Some(trial) => Some(match trial.await {
                    Ok(answer) => answer.map_err(|failure| CredentialsRejection {
                        why: failure.into_wechat_error(Api::StableToken),
                        errcode: failure.errcode(),
                    }),
                    Err(_) => Err(CredentialsRejection {
                        why: WechatError::Unusable,
                        errcode: None,
                    }),
                }),
            };
            tried.push((app_id, result));
        }
        tried
    }
}

//! Does WeChat accept the credentials of each mini program, from this machine?

use std::sync::Arc;

use super::{
    context::{CHECK_TIMEOUT, DoctorContext},
    finding::Finding,
};
use crate::{
    clock::Clock,
    entropy::Entropy,
    metrics::Metrics,
    provider::wechat::{Errcode, Wechat, WechatError, WechatRejection},
    types::AppId,
};

pub(super) async fn check(context: Arc<DoctorContext>) -> Vec<Finding> {
    let config = &context.config;
    let wechat = Wechat::new(
        &config.wechat,
        config.mode,
        Metrics::new(),
        &Clock::System,
        &Entropy::default(),
    );
    let wechat = match wechat {
        Ok(wechat) => wechat,
        Err(error) => return vec![Finding::failed(error.to_string(), "correct [wechat]")],
    };
    // A little less than the check's own timeout, so that the result is still printed.
    let tried = wechat.check_credentials(CHECK_TIMEOUT * 5 / 6).await;
    if tried.is_empty() {
        return vec![Finding::skipped(
            "development calls no WeChat: a login code is its own openid",
        )];
    }
    tried
        .into_iter()
        .map(|(app, tried)| judge(&app, tried))
        .collect()
}

fn judge(app: &AppId, tried: Option<Result<(), WechatRejection>>) -> Finding {
    let refused = match tried {
        None => {
            let message = "wechat.token_mode = \"none\" uses no access token, and without one the secret can be tested only by a login";
            return Finding::skipped(format!("{app}: {message}"));
        }
        Some(Ok(())) => {
            return Finding::ok(format!(
                "{app}: WeChat accepts the AppSecret and returns an access token"
            ));
        }
        Some(Err(refused)) => refused,
    };
    let seen = match refused.errcode {
        Some(errcode) => format!(
            "{app}: {}, errcode {} ({})",
            refused.why,
            errcode.get(),
            errcode.text()
        ),
        None => format!("{app}: {}", refused.why),
    };
    let failed = |advice: &str| Finding::failed(seen.clone(), advice);
    match (refused.why, refused.errcode.map(Errcode::get)) {
        (_, Some(40001 | 40125 | 41004)) => failed(
            "the AppSecret is not that of this app id: copy it again from mp.weixin.qq.com (a reset ends the old one)",
        ),
        (_, Some(40002 | 40013 | 41002)) => {
            failed("the app id is wrong: copy it from mp.weixin.qq.com")
        }
        (_, Some(40164 | 61004)) => failed(
            "WeChat accepts no call from this machine's address: add it to the IP list of the mini program, mp.weixin.qq.com",
        ),
        (_, Some(40243)) => failed("the AppSecret is frozen: unfreeze it at mp.weixin.qq.com"),
        (_, Some(89501 | 89503 | 89506 | 89507)) => failed(
            "an administrator of the mini program has to confirm calls from this address, in WeChat",
        ),
        (WechatError::Misconfigured, _) => {
            failed("look the errcode up at developers.weixin.qq.com; the account may be limited")
        }
        (WechatError::Unreachable, _) => failed(
            "see that wechat.base_url is reached from here: DNS, firewall, HTTPS_PROXY, root certificates",
        ),
        (WechatError::Timeout, _) => {
            failed("WeChat is reached but slow, or a firewall drops: try api2.weixin.qq.com")
        }
        (
            WechatError::Broken
            | WechatError::Unusable
            | WechatError::CodeInvalid
            | WechatError::Blocked,
            _,
        ) => failed(
            "what answers at wechat.base_url is not WeChat, or a proxy changes the responses",
        ),
        (WechatError::Busy { .. } | WechatError::RateLimited { .. }, _) => Finding::warning(
            seen,
            "the credentials could not be tested: try again later, and check the quota",
        ),
    }
}

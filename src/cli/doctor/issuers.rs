//! Can the key sets of external issuers be fetched, and do they have usable keys?

use std::{sync::Arc, time::Duration};

use reqwest::Url;

use super::{context::DoctorContext, finding::Finding};
use crate::{
    config::IssuerConfig,
    outbound::Outbound,
    token::{MAX_JWKS_LEN, usable_keys},
};

/// Timeout of one key set.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);

pub(super) async fn check(context: Arc<DoctorContext>) -> Vec<Finding> {
    let with_url = context
        .config
        .issuer
        .iter()
        .filter(|issuer| issuer.jwks_url.is_some())
        .cloned();
    let looks: Vec<_> = with_url
        .map(|issuer| tokio::spawn(async move { look(&issuer).await }))
        .collect();
    if looks.is_empty() {
        return vec![Finding::skipped("none has a jwks_url")];
    }
    let mut findings = Vec::new();
    for look in looks {
        findings.extend(look.await);
    }
    findings
}

async fn look(issuer: &IssuerConfig) -> Finding {
    let name = &issuer.name;
    let url = issuer
        .jwks_url
        .as_deref()
        .and_then(|url| Url::parse(url).ok());
    let Some((url, outbound)) =
        url.and_then(|url| Outbound::new(&url).ok().map(|outbound| (url, outbound)))
    else {
        return Finding::failed(
            format!("{name}: no client for its jwks_url"),
            "are root certificates installed?",
        );
    };
    let server = url.origin().ascii_serialization();
    let failed = |what: String| {
        let advice = "until its keys are fetched, its tokens are refused; check that jwks_url is right and can be reached from here";
        Finding::failed(format!("{name}: {server} {what}"), advice)
    };
    match outbound.fetch(url, MAX_JWKS_LEN, RESPONSE_TIMEOUT).await {
        Err(error) => failed(format!("gave nothing: {error}")),
        Ok(answer) if answer.status() != 200 => {
            failed(format!("answers {}", answer.status().as_u16()))
        }
        Ok(answer) => match usable_keys(answer.body(), &issuer.algorithms) {
            Ok(count) => Finding::ok(format!(
                "{name}: {server} has {count} keys that can be used"
            )),
            Err(why) => failed(format!("gives what {why}")),
        },
    }
}

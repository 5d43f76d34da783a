//! Does a menshen with this config run here, and what does `/readyz` say?

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::Url;
use serde_json::Value;

use super::{context::DoctorContext, finding::Finding};
use crate::outbound::{Outbound, OutboundError, loopback_if_unspecified};

/// Time for its answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn check(context: Arc<DoctorContext>) -> Vec<Finding> {
    let listen = &context.config.admin.listen;
    let url = listen.parse().ok().and_then(readyz);
    let Some((url, outbound)) =
        url.and_then(|url| Outbound::new(&url).ok().map(|outbound| (url, outbound)))
    else {
        return vec![Finding::failed(
            "admin.listen is not an address",
            "write IP:PORT",
        )];
    };
    vec![match outbound.get(url, RESPONSE_TIMEOUT).await {
        Err(OutboundError::Connect) => {
            Finding::skipped(format!("nothing listens on {listen} (admin.listen)"))
        }
        Err(error) => Finding::failed(
            format!("{listen} (admin.listen): {error}"),
            "see what listens there, and whether it hangs",
        ),
        Ok(answer) => match serde_json::from_slice(&answer.body) {
            Ok(body) => judge(answer.status.as_u16(), &body),
            Err(_) => Finding::failed(
                format!("what listens on {listen} is not menshen"),
                "set admin.listen to a free port",
            ),
        },
    }]
}

fn readyz(listen: SocketAddr) -> Option<Url> {
    Url::parse(&format!(
        "http://{}/readyz",
        loopback_if_unspecified(listen)
    ))
    .ok()
}

fn judge(status: u16, body: &Value) -> Finding {
    let parts = in_words(body);
    match status {
        200 if is_well(body) => Finding::ok(format!("it is ready ({parts})")),
        200 => Finding::warning(
            format!("it is ready, and not well ({parts})"),
            "its log has the details",
        ),
        _ => Finding::failed(
            format!("it is not ready ({parts})"),
            "its log has the reason",
        ),
    }
}

fn is_well(body: &Value) -> bool {
    let issuers = body["issuers"].as_object().into_iter().flatten();
    body["store"] == "ok" && issuers.into_iter().all(|(_, health)| health == "ok")
}

/// The parts of `/readyz`, as text: `store: ok, issuer idp: no keys`.
fn in_words(body: &Value) -> String {
    let part = |name: &str, value: &Value| format!("{name}: {}", value.as_str().unwrap_or("?"));
    let own = ["stage", "store"]
        .into_iter()
        .filter(|name| !body[*name].is_null())
        .map(|name| part(name, &body[name]));
    let details = body["details"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| part(name, value));
    let issuers = body["issuers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| part(&format!("issuer {name}"), value));
    own.chain(details)
        .chain(issuers)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::finding::Status, *};

    #[test]
    fn what_readyz_says_is_judged() {
        for (status, body, state) in [
            (200, json!({ "ok": true, "store": "ok" }), Status::Ok),
            (
                200,
                json!({ "ok": true, "store": "failing" }),
                Status::Warning,
            ),
            (
                200,
                json!({ "ok": true, "store": "ok", "issuers": { "idp": "no keys" } }),
                Status::Warning,
            ),
            (
                503,
                json!({ "ok": false, "stage": "stopping" }),
                Status::Failed,
            ),
        ] {
            assert_eq!(judge(status, &body).state, state, "{body}");
        }
        let body = json!({ "ok": true, "store": "ok", "details": { "reload": "failed" }, "issuers": { "idp": "ok" } });
        assert_eq!(in_words(&body), "store: ok, reload: failed, issuer idp: ok");
    }
}

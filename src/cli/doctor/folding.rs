//! Does the backend read `X_User_Id` as `X-User-Id`? WSGI and CGI servers do; others drop or keep
//! such names.
//!
//! menshen removes every spelling, so this matters only for requests that bypass menshen.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::Value;

use super::{context::DoctorContext, finding::Finding, server_probe::prober};
use crate::proxy::{Probe, ProbeError};

/// Timeout of the response of the path that echoes headers.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// With `_`: the echoed name shows what the backend made of it.
const PROBE: &str = "x_doctor_probe";
const FOLDING_SERVERS: [&str; 6] = [
    "gunicorn",
    "uwsgi",
    "waitress",
    "werkzeug",
    "wsgiserver",
    "cheroot",
];

pub(super) async fn check(context: Arc<DoctorContext>) -> Vec<Finding> {
    vec![match &context.echo {
        Some(path) => by_echo(&context, path).await,
        None => by_name(&context),
    }]
}

fn by_name(context: &DoctorContext) -> Finding {
    let mut names = context
        .probes
        .backends
        .iter()
        .filter_map(|probe| probe.outcome.as_ref().ok()?.server.as_deref());
    let known = names.find(|name| {
        FOLDING_SERVERS
            .iter()
            .any(|server| name.to_ascii_lowercase().contains(server))
    });
    match known {
        Some(name) => Finding::ok(format!(
            "the backend is {name}, which reads `_` in names as `-`: {REMOVED}"
        )),
        None => Finding::skipped(
            "the backend does not name its server; give --echo PATH, which returns the headers as JSON",
        ),
    }
}

const REMOVED: &str = "menshen removes identity headers of clients in every spelling";

async fn by_echo(context: &DoctorContext, path: &str) -> Finding {
    let advice =
        "name a path of the backend that responds with 200 and the request's headers as JSON";
    if !path.starts_with('/') {
        return Finding::failed("--echo is not a path", advice);
    }
    let Ok(prober) = prober(&context.config.upstream).await else {
        return Finding::skipped("the backend cannot be reached");
    };
    let probe = Probe {
        path,
        field: Some((PROBE, "1")),
        with_body: true,
    };
    match prober.send(0, probe, RESPONSE_TIMEOUT).await {
        Err(ProbeError::InvalidRequest) => Finding::failed("--echo is not a path", advice),
        Err(ProbeError::Unresolved | ProbeError::NoConnection(_) | ProbeError::NoTls) => {
            Finding::skipped("the backend cannot be reached")
        }
        Err(error @ (ProbeError::NoResponse | ProbeError::NotHttp)) => {
            Finding::failed(format!("--echo: {error}"), advice)
        }
        Ok(answer) if answer.status != StatusCode::OK => Finding::failed(
            format!("--echo: the backend answers {}", answer.status.as_u16()),
            advice,
        ),
        Ok(answer) => match serde_json::from_slice(&answer.body) {
            Err(_) => Finding::failed("--echo: what the backend answers is not JSON", advice),
            Ok(reported) => judge(spelling(&reported)),
        },
    }
}

/// What the backend made of a name with `_`.
fn judge(spelling: Option<String>) -> Finding {
    match spelling {
        None => Finding::ok("the backend drops names with `_`"),
        Some(name) if name.eq_ignore_ascii_case(PROBE) => {
            Finding::ok("the backend distinguishes `_` and `-` in names")
        }
        Some(name) => Finding::ok(format!(
            "the backend reads `_` in names as `-` ({name}): {REMOVED}"
        )),
    }
}

/// The key of the probe's header, anywhere in the response.
fn spelling(reported: &Value) -> Option<String> {
    let fold = |text: &str| text.replace('_', "-").to_ascii_lowercase();
    match reported {
        Value::Object(members) => {
            let known = members
                .keys()
                .find(|key| fold(key).trim_start_matches("http-") == fold(PROBE));
            known
                .cloned()
                .or_else(|| members.values().find_map(spelling))
        }
        Value::Array(items) => items.iter().find_map(spelling),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_became_of_the_probe_is_found_wherever_it_is() {
        let judged = |reported: Value| judge(spelling(&reported)).seen;
        assert!(
            judged(json!({ "headers": { "X_Doctor_Probe": "1" } }))
                .contains("distinguishes `_` and `-`")
        );
        assert!(judged(json!([{ "x-doctor-probe": "1" }])).contains("reads `_` in names as `-`"));
        assert!(
            judged(json!({ "HTTP_X_DOCTOR_PROBE": "1" })).contains("reads `_` in names as `-`")
        );
        assert!(judged(json!({ "host": "x_doctor_probe" })).contains("drops"));
    }
}

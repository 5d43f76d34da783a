//! Does the backend respond, on the path that the gate uses?

use super::{
    context::DoctorContext,
    finding::Finding,
    server_probe::{ProbeFailure, ProbeOutcome, path},
};
use crate::config::UpstreamConfig;

pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let upstream = &context.config.upstream;
    context
        .probes
        .backends
        .iter()
        .map(|probe| judge(&probe.name, &probe.outcome, upstream))
        .collect()
}

fn judge(name: &str, outcome: &ProbeOutcome, upstream: &UpstreamConfig) -> Finding {
    let start_it = "start the backend, or correct upstream.urls: until then every request gets 502";
    let path = path(upstream);
    match outcome {
        Ok(head) => judge_answer(
            format!("{name} answers GET {path} with {}", head.status),
            head.status,
            upstream,
        ),
        Err(ProbeFailure::Unreachable(why)) => {
            Finding::failed(format!("{name} cannot be reached: {why}"), start_it)
        }
        Err(ProbeFailure::NoTls) => Finding::failed(
            format!("{name} accepts connections, but has no trusted certificate"),
            "compare upstream.tls.ca_file and upstream.tls.server_name with its certificate, and see that it speaks TLS there",
        ),
        Err(ProbeFailure::Silent) => Finding::warning(
            format!("{name} accepts connections, but does not answer GET {path} in time"),
            "see whether the backend hangs, or whether this one path is slow",
        ),
        Err(ProbeFailure::NotHttp) => Finding::failed(
            format!("{name} answers, but not in the HTTP of upstream.protocol"),
            "see what listens there; for TLS write https://, for HTTP/2 set upstream.protocol = \"http2\", for HTTP/1.1 \"http1\"",
        ),
    }
}

fn judge_answer(seen: String, status: u16, upstream: &UpstreamConfig) -> Finding {
    match status {
        400 => {
            let key = if upstream.host.is_some() {
                "upstream.host"
            } else {
                "upstream.health.host"
            };
            let advice = format!(
                "if it refuses the `Host` of the check (Django's ALLOWED_HOSTS), set {key} to one that it accepts"
            );
            Finding::warning(seen, advice)
        }
        500.. => Finding::warning(
            seen,
            "look at the backend's log; menshen forwards its responses unchanged",
        ),
        200..400 => Finding::ok(seen),
        _ if upstream.health.path.is_some() => {
            let advice = "let upstream.health.path be one that answers 2xx or 3xx to a request without a token: as it is, its \
                          health checks fail";
            Finding::warning(seen, advice)
        }
        _ => Finding::ok(seen),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Status, *};
    use crate::config::HealthConfig;

    #[test]
    fn what_a_backend_answers_is_judged_as_its_health_checks_judge_it() {
        let with = |host: Option<&str>, path: Option<&str>| UpstreamConfig {
            host: host.map(str::to_owned),
            health: HealthConfig {
                path: path.map(str::to_owned),
                ..HealthConfig::default()
            },
            ..UpstreamConfig::default()
        };
        for (status, path, state) in [
            (200, None, Status::Ok),
            (302, Some("/health"), Status::Ok),
            (404, None, Status::Ok),
            (404, Some("/health"), Status::Warning),
            (401, Some("/health"), Status::Warning),
            (400, None, Status::Warning),
            (503, None, Status::Warning),
        ] {
            let finding = judge_answer(String::new(), status, &with(None, path));
            assert_eq!(finding.state, state, "{status} {path:?}");
        }
        for (host, key) in [
            (None, "upstream.health.host"),
            (Some("shop.example.com"), "upstream.host"),
        ] {
            let finding = judge_answer(String::new(), 400, &with(host, None));
            let advice = finding.advice.unwrap();
            assert!(advice.contains(&format!("set {key}")), "{advice}");
        }
    }
}

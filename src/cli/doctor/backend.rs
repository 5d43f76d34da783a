//! Does the backend answer, by the way that the gate takes?

use super::{Finding, Patient, visit::Outcome};

const CHECK: &str = "backend";

#[expect(clippy::unused_async, reason = "checks are called alike, and some of them wait")]
pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let judged = patient.visits.backends.iter().map(|visit| judge(&visit.name, &visit.outcome));
    judged.collect()
}

fn judge(name: &str, outcome: &Outcome) -> Finding {
    let start_it = "start the backend, or mend upstream.urls: until then every request is answered 502";
    match outcome {
        Outcome::Answered(head) if head.status >= 500 => {
            let seen = format!("{name} answers GET / with {}", head.status);
            Finding::warning(CHECK, seen, "look at the backend's log; menshen hands on what it answers")
        }
        Outcome::Answered(head) => Finding::ok(CHECK, format!("{name} answers GET / with {}", head.status)),
        Outcome::Connected => Finding::ok(CHECK, format!("{name} takes connections (HTTP/2 is not asked further)")),
        Outcome::Unreachable(why) => Finding::failed(CHECK, format!("{name} is not reached: {why}"), start_it),
        Outcome::NoTls => Finding::failed(
            CHECK,
            format!("{name} takes connections, but gives no certificate that is believed"),
            "compare upstream.tls.ca_file and upstream.tls.server_name with its certificate, and see that it speaks TLS there",
        ),
        Outcome::Silent => Finding::warning(
            CHECK,
            format!("{name} takes connections, but does not answer GET / in time"),
            "see whether the backend hangs, or whether this one path is slow",
        ),
        Outcome::NotHttp => Finding::failed(
            CHECK,
            format!("{name} answers, but not in HTTP/1.1"),
            "see what listens there; for TLS write https://, for HTTP/2 set upstream.protocol = \"http2\"",
        ),
    }
}

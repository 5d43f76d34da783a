//! Is the receiver of hooks reachable? No hook is sent, only `GET /`.

use super::{DoctorContext, Finding, server_probe::ProbeOutcome};

const CHECK: &str = "hooks";

#[expect(
    clippy::unused_async,
    reason = "checks are called alike, and some of them wait"
)]
pub(super) async fn check(context: &DoctorContext) -> Vec<Finding> {
    let Some(probe) = &context.probes.hooks else {
        return vec![Finding::skipped(CHECK, "hooks.url is not set")];
    };
    vec![reached(
        CHECK,
        &probe.name,
        &probe.outcome,
        "mend hooks.url, or start what listens there",
    )]
}

/// Whether the server responds at all, with any status.
pub(super) fn reached(
    check: &'static str,
    name: &str,
    outcome: &ProbeOutcome,
    advice: &str,
) -> Finding {
    match outcome {
        ProbeOutcome::Answered(head) if head.status >= 500 => {
            let advice = "look at its log: it may fail at what is meant too";
            Finding::warning(
                check,
                format!("{name} is reached, and answers / with {}", head.status),
                advice,
            )
        }
        ProbeOutcome::Answered(_) => Finding::ok(
            check,
            format!("{name} is reached, and was asked for / alone"),
        ),
        ProbeOutcome::Unreachable(why) => {
            Finding::failed(check, format!("{name} is not reached: {why}"), advice)
        }
        ProbeOutcome::NoTls => Finding::failed(
            check,
            format!("{name} gives no certificate that is believed"),
            advice,
        ),
        ProbeOutcome::Silent => Finding::warning(
            check,
            format!("{name} takes connections, but does not answer in time"),
            advice,
        ),
        ProbeOutcome::NotHttp => Finding::failed(
            check,
            format!("{name} answers, but not in HTTP/1.1"),
            advice,
        ),
    }
}

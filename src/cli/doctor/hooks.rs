//! Is the receiver of hooks reachable? No hook is sent, only `GET /`.

use super::{
    context::DoctorContext,
    finding::Finding,
    server_probe::{ProbeFailure, ProbeOutcome},
};

pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let Some(probe) = &context.probes.hooks else {
        return vec![Finding::skipped("hooks.url is not set")];
    };
    vec![reached(
        &probe.name,
        &probe.outcome,
        "correct hooks.url, or start its server",
    )]
}

/// Whether the server responds at all, with any status.
pub(super) fn reached(name: &str, outcome: &ProbeOutcome, advice: &str) -> Finding {
    match outcome {
        Ok(head) if head.status >= 500 => {
            let advice = "look at its log: real hooks may fail too";
            Finding::warning(
                format!("{name} is reached, and answers GET / with {}", head.status),
                advice,
            )
        }
        Ok(_) => Finding::ok(format!("{name} is reached (only GET / was sent)")),
        Err(ProbeFailure::Unreachable(why)) => {
            Finding::failed(format!("{name} cannot be reached: {why}"), advice)
        }
        Err(ProbeFailure::NoTls) => {
            Finding::failed(format!("{name} has no trusted certificate"), advice)
        }
        Err(ProbeFailure::Silent) => Finding::warning(
            format!("{name} accepts connections, but does not answer in time"),
            advice,
        ),
        Err(ProbeFailure::NotHttp) => {
            Finding::failed(format!("{name} answers, but not in HTTP/1.1"), advice)
        }
    }
}

//! Are the SMS providers reachable? They have no free call, so keys, signatures and templates are
//! not tried.

use super::{DoctorContext, Finding, hooks::reached};

const CHECK: &str = "sms";

#[expect(
    clippy::unused_async,
    reason = "checks are called alike, and some of them wait"
)]
pub(super) async fn check(context: &DoctorContext) -> Vec<Finding> {
    let probes = &context.probes.sms;
    if probes.is_empty() {
        return vec![Finding::skipped(CHECK, "no server is asked to send codes")];
    }
    let advice = "see that it is reached from here: DNS, firewall, HTTPS_PROXY, root certificates";
    probes
        .iter()
        .map(|probe| reached(CHECK, &probe.name, &probe.outcome, advice))
        .collect()
}

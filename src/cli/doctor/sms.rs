//! Are those reached who send codes? They have no call that costs nothing, so keys, signatures and
//! templates stay untried.

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
        .map(|visit| reached(CHECK, &visit.name, &visit.outcome, advice))
        .collect()
}

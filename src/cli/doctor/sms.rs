//! Are the SMS providers reachable? They have no free call, so keys, signatures and templates are
//! not tried.

use super::{context::DoctorContext, finding::Finding, hooks::reached};

pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let probes = &context.probes.sms;
    if probes.is_empty() {
        return vec![Finding::skipped("no provider of codes is configured")];
    }
    let advice = "see that it is reached from here: DNS, firewall, HTTPS_PROXY, root certificates";
    probes
        .iter()
        .map(|probe| reached(&probe.name, &probe.outcome, advice))
        .collect()
}

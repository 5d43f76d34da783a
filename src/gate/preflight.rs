//! The response to a CORS preflight, where that is menshen's to give.

use super::{access::AccessPolicy, admitted::AdmittedRequest, message_framing::MessageFraming};
use crate::policy::{Head, Origin, cors, path};

/// A preflight that menshen answers; `None`: every other request.
pub(super) fn decide(
    access: &AccessPolicy,
    head: &Head<'_>,
    origin: Origin,
    framing: MessageFraming,
) -> Option<AdmittedRequest> {
    let cors = access.cors.as_ref()?;
    let method = cors::requested_method(head)?;
    let (target, rule) = match access.target(head.target, method) {
        Ok(target) if access.is_local(method, target.path) => (target, None),
        Ok(target) => {
            let rule = access.rules.find(target.path, method).rule;
            if !rule.cors {
                return None;
            }
            (target, Some(rule.index))
        }
        Err(_) if access.raw_target(head.target).is_some() => return None,
        // The request itself will be rejected, and the page may read why.
        Err(_) => {
            let target = path::raw_target(head.target)?;
            (target, Some(access.rules.find(target.path, method).rule.index))
        }
    };
    let request = AdmittedRequest::not_forwarded(head, head.target, target, origin, framing, rule);
    Some(AdmittedRequest { cors: Some(cors.preflight(head)), ..request })
}

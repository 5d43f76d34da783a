//! The decision on a CORS preflight that menshen answers.

use super::{
    access::AccessPolicy, admitted::AdmittedRequest, observer::DecisionObserver, received::Received,
};
use crate::policy::{cors, path};

/// A preflight that menshen answers; `None`: every other request.
pub(super) fn decide(
    access: &AccessPolicy,
    received: Received<'_>,
    observer: &mut impl DecisionObserver,
) -> Option<AdmittedRequest> {
    let cors = access.cors.as_ref()?;
    let head = received.head;
    let method = cors::requested_method(head)?;
    let (target, rule) = match access.target(head.target, method, observer) {
        Ok(target) if access.local_route(method, target.path).is_some() => (target, None),
        Ok(target) => {
            let rule = access.rule(target.path, method, observer).rule;
            if !rule.cors {
                return None;
            }
            (target, Some(rule.index))
        }
        Err(_) if access.raw_target(head.target).is_some() => return None,
        // The request itself will be rejected, and the page may read the reason.
        Err(_) => {
            let target = path::raw_target(head.target)?;
            (
                target,
                Some(access.rule(target.path, method, observer).rule.index),
            )
        }
    };
    let mut request = AdmittedRequest::new(received, head.target.to_owned(), target, rule);
    request.cors = Some(cors.preflight_fields(head));
    Some(request)
}

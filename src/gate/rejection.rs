//! What the gate says no with: the code, and as much of the request as was understood.

use std::{net::IpAddr, sync::Arc};

use super::{message_framing::MessageFraming, request_id};
use crate::{
    auth::Identity,
    error::ErrorCode,
    policy::{CorsFields, Head, Origin, RejectReason, client_ip},
};

/// A rejection, with as much of the request as was understood.
#[derive(Debug)]
pub struct Rejection {
    pub code: ErrorCode,
    /// A text for people, where it is more than the code's usual text.
    pub detail: Option<&'static str>,
    /// Index of the rule that decided, if it came to that.
    pub rule: Option<usize>,
    pub method: String,
    /// Without the query; empty when the head could not be read.
    pub path: String,
    pub origin: Origin,
    /// `None`: where this request ends is in doubt, so the connection ends with it.
    pub framing: Option<MessageFraming>,
    /// The user of the token, where the rule rejects a good one.
    pub identity: Option<Arc<Identity>>,
    /// Header fields for a page that may read the response.
    pub cors: Option<CorsFields>,
    /// A forward-auth request; method and path are those of the request that it is about, as far as
    /// they could be read.
    pub forward_auth: bool,
    /// The request id of a trusted proxy, where it is fit to be kept.
    pub request_id: Option<String>,
}

impl Rejection {
    /// The rejection of a request of which nothing but the peer is known; its connection ends.
    pub fn malformed(code: ErrorCode, detail: &'static str, peer: Option<IpAddr>) -> Self {
        Self {
            code,
            detail: Some(detail),
            rule: None,
            method: String::new(),
            path: String::new(),
            origin: client_ip::resolve(peer, std::iter::empty(), std::iter::empty(), &[]),
            framing: None,
            identity: None,
            cors: None,
            forward_auth: false,
            request_id: None,
        }
    }

    /// The rejection of a request whose head could be read.
    pub(super) fn new(
        head: &Head<'_>,
        reason: RejectReason,
        origin: Origin,
        framing: Option<MessageFraming>,
    ) -> Self {
        let end = memchr::memchr2(b'?', b'#', head.target.as_bytes()).unwrap_or(head.target.len());
        let path = &head.target[..end];
        Self {
            code: reason.code,
            detail: Some(reason.detail).filter(|detail| !detail.is_empty()),
            rule: None,
            method: head.method.to_owned(),
            path: if path.bytes().all(|byte| byte.is_ascii_graphic()) {
                path.to_owned()
            } else {
                printable(path)
            },
            origin,
            framing: framing.map(|framing| MessageFraming {
                keep_alive: framing.keep_alive && !reason.close,
                ..framing
            }),
            identity: None,
            cors: None,
            forward_auth: false,
            request_id: request_id::from_proxy(head, origin),
        }
    }
}

/// A rejected target may hold anything, and a terminal may show the log.
#[cold]
fn printable(path: &str) -> String {
    path.chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .collect()
}

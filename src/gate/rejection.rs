//! The rejection of a request: the error code, and the parts of the request that were readable.

use std::{net::IpAddr, sync::Arc};

use super::{message_framing::MessageFraming, request_id};
use crate::{
    auth::Identity,
    error::ErrorCode,
    policy::{ClientConnection, CorsFields, Head, RejectReason, client_connection},
};

/// The rejection of a request, with the parts of it that were readable.
#[derive(Debug)]
pub struct Rejection {
    pub code: ErrorCode,
    /// A text for people, if it differs from the default text of the code.
    pub detail: Option<&'static str>,
    /// Index of the rule that decided, if one did.
    pub rule: Option<usize>,
    pub method: String,
    /// Without the query; empty if the head was unreadable.
    pub path: String,
    pub client: ClientConnection,
    /// `None`: the end of the request is uncertain, so the connection is closed.
    pub framing: Option<MessageFraming>,
    /// The user of the token, if the rule rejects a valid one.
    pub identity: Option<Arc<Identity>>,
    /// CORS header fields of the response.
    pub cors: Option<CorsFields>,
    /// It is a forward-auth request; method and path are those of the request that it is about, if
    /// they were readable.
    pub forward_auth: bool,
    /// The request id of a trusted proxy, if it is valid.
    pub request_id: Option<String>,
}

impl Rejection {
    /// The rejection of a request of which only the peer is known; its connection is closed.
    pub fn malformed(code: ErrorCode, detail: &'static str, peer: Option<IpAddr>) -> Self {
        Self {
            code,
            detail: Some(detail),
            rule: None,
            method: String::new(),
            path: String::new(),
            client: client_connection::resolve(peer, std::iter::empty(), std::iter::empty(), &[]),
            framing: None,
            identity: None,
            cors: None,
            forward_auth: false,
            request_id: None,
        }
    }

    /// The rejection of a request whose head was readable.
    pub(super) fn new(
        head: &Head<'_>,
        reason: RejectReason,
        client: ClientConnection,
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
            client,
            framing: framing.map(|framing| MessageFraming {
                keep_alive: framing.keep_alive && !reason.close,
                ..framing
            }),
            identity: None,
            cors: None,
            forward_auth: false,
            request_id: request_id::from_proxy(head, client),
        }
    }
}

/// A rejected target may hold any bytes, and the log may be on a terminal.
#[cold]
fn printable(path: &str) -> String {
    path.chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .collect()
}

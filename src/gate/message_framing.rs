//! The framing of a request on its connection.

use crate::policy::{BodyLength, Framing, Head, HttpVersion};

/// The framing of a request on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFraming {
    pub version: HttpVersion,
    /// Length of the head in bytes; of HTTP/1, its blank line included.
    pub head_len: usize,
    pub body: BodyLength,
    /// The connection persists after this request.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl MessageFraming {
    pub(super) const fn new(head: &Head<'_>, checked: &Framing) -> Self {
        Self {
            version: head.version,
            head_len: head.bytes.len(),
            body: checked.body,
            keep_alive: checked.keep_alive,
            expects_continue: checked.expects_continue,
        }
    }
}

//! Where a request ends on its connection, for the reader of what follows.

use crate::policy::{BodyLength, Framing, Head, HttpVersion};

/// Where a request ends on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFraming {
    pub version: HttpVersion,
    /// Length of the head in bytes; of HTTP/1, its blank line included.
    pub head_len: usize,
    pub body: BodyLength,
    /// The client wants to send more requests on this connection.
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

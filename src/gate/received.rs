//! A received request whose framing is checked.

use super::message_framing::MessageFraming;
use crate::policy::{ClientConnection, Head};

/// A received request.
#[derive(Clone, Copy)]
pub(super) struct Received<'r> {
    pub(super) head: &'r Head<'r>,
    pub(super) client: ClientConnection,
    pub(super) framing: MessageFraming,
    /// It is a WebSocket handshake.
    pub(super) websocket: bool,
}

//! A WebSocket after its handshake.

mod frames;
pub(super) mod tunnel;

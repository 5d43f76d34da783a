//! WebSockets after their handshake.

mod frames;
pub(super) mod tunnel;

//! What happens to a header of a client, and why.

/// What happens to one header of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderVerdict {
    Pass,
    /// `Connection` and `Upgrade`: for a WebSocket handshake they are set anew, otherwise dropped.
    Handshake,
    Drop(DropReason),
}

/// Why a header does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// An identity header in some spelling.
    Reserved,
    /// Under one of `identity.reserved_prefixes`.
    ReservedPrefix,
    /// Says where a request comes from; that is ours to say.
    Forwarding,
    /// Says the client's address as a CDN would.
    ClientAddress,
    /// Would give the backend another path, method or internal state.
    Override,
    /// `X-WX-*`: what the cloud of the same maker vouches for, where it is not in front.
    WechatCloud,
    /// For this connection only (RFC 9110 section 7.6.1).
    HopByHop,
    /// The credential that has been checked.
    Credential,
    /// A sign in its name that backends fold away.
    OddName,
}

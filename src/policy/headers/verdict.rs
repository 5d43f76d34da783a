//! The verdict on a header of a client.

/// The verdict on one header of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderVerdict {
    Pass,
    /// `Connection` and `Upgrade`: replaced in a WebSocket handshake, else dropped.
    Handshake,
    Drop(DropReason),
}

/// Why a header is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// An identity header in some spelling.
    Reserved,
    /// Under one of `identity.reserved_prefixes`.
    ReservedPrefix,
    /// States the origin of a request, which only menshen does.
    Forwarding,
    /// States the client's address, as a CDN would.
    ClientAddress,
    /// Could give the backend another path, method or internal state.
    Override,
    /// `X-WX-*`, which only WeChat's cloud sets, where it is not in front.
    WechatCloud,
    /// For this connection only (RFC 9110 section 7.6.1).
    HopByHop,
    /// The credential that has been checked.
    Credential,
    /// Its name has a character that backends fold.
    OddName,
}

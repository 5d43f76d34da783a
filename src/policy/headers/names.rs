//! Header names that mean something to proxies and frameworks, whatever the config says. Written
//! folded.

use super::verdict::DropReason;

/// What kind of header a built-in name is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Forwarding,
    ClientAddress,
    Override,
    HopByHop,
    Handshake,
    Credential,
}

/// Names with a fixed meaning.
pub(super) const BUILT_IN: [(&str, Kind); 42] = [
    ("authorization", Kind::Credential),
    ("connection", Kind::Handshake),
    ("upgrade", Kind::Handshake),
    // RFC 9110 section 7.6.1, and the older names that some servers still honour. HTTP2-Settings
    // belongs to h2c.
    ("keep-alive", Kind::HopByHop),
    ("proxy-connection", Kind::HopByHop),
    ("proxy-authenticate", Kind::HopByHop),
    ("proxy-authorization", Kind::HopByHop),
    ("te", Kind::HopByHop),
    ("trailer", Kind::HopByHop),
    ("http2-settings", Kind::HopByHop),
    // What proxies say of a request. The same of this connection is set anew.
    ("forwarded", Kind::Forwarding),
    ("x-forwarded", Kind::Forwarding),
    ("x-real-ip", Kind::Forwarding),
    ("x-scheme", Kind::Forwarding),
    ("x-url-scheme", Kind::Forwarding),
    ("front-end-https", Kind::Forwarding),
    ("x-request-id", Kind::Forwarding),
    // The client's address as CDNs and load balancers name it, where the name has none of
    // `CLIENT_ADDRESS_ENDINGS`. Under a reserved prefix as well, which would make it a forged one.
    ("x-client-ip", Kind::ClientAddress),
    ("remote-addr", Kind::ClientAddress),
    ("x-remote-addr", Kind::ClientAddress),
    ("x-remote-ip", Kind::ClientAddress),
    ("x-originating-ip", Kind::ClientAddress),
    ("x-proxyuser-ip", Kind::ClientAddress),
    ("cf-connecting-ipv6", Kind::ClientAddress),
    ("cf-pseudo-ipv4", Kind::ClientAddress),
    ("cloudfront-viewer-address", Kind::ClientAddress),
    ("x-azure-clientip", Kind::ClientAddress),
    ("x-azure-socketip", Kind::ClientAddress),
    ("x-sucuri-clientip", Kind::ClientAddress),
    ("x-appengine-user-ip", Kind::ClientAddress),
    ("x-nf-client-connection-ip", Kind::ClientAddress),
    // Another path, method or host than the one that was decided on.
    ("x-rewrite-url", Kind::Override),
    ("x-override-url", Kind::Override),
    ("x-http-method", Kind::Override),
    ("x-http-method-override", Kind::Override),
    ("x-method-override", Kind::Override),
    ("x-http-host-override", Kind::Override),
    ("x-host", Kind::Override),
    // httpoxy (CVE-2016-5385): CGI makes HTTP_PROXY of it.
    ("proxy", Kind::Override),
    // Meant between an application and the server in front of it.
    ("x-sendfile-type", Kind::Override),
    ("script-name", Kind::Override),
    ("path-info", Kind::Override),
];

/// Beginnings with a fixed meaning.
pub(super) const BUILT_IN_PREFIXES: [(&str, DropReason); 6] = [
    ("x-forwarded-", DropReason::Forwarding),
    ("x-original-", DropReason::Override),
    // CVE-2023-27487: `x-envoy-original-path` was taken for the path.
    ("x-envoy-", DropReason::Override),
    // CVE-2025-29927: `x-middleware-subrequest` skipped the middleware.
    ("x-middleware-", DropReason::Override),
    ("x-accel-", DropReason::Override),
    ("x-menshen-", DropReason::Reserved),
];

/// How names end that bring the client's address: `EO-Connecting-IP`, `True-Client-IP`,
/// `Ali-Cdn-Real-Ip`, `Cdn-Src-Ip`, `X-Vercel-Forwarded-For`. Each CDN has a name of its own, so
/// they are known by their last words, alone or after a `-`.
pub(super) const CLIENT_ADDRESS_ENDINGS: [&str; 5] = [
    "connecting-ip",
    "client-ip",
    "real-ip",
    "src-ip",
    "forwarded-for",
];

/// Fields of an answer that come before its body or not at all, besides those of [`STANDARD`].
pub(super) const NOT_IN_TRAILERS: [&str; 10] = [
    "age",
    "authentication-control",
    "expires",
    "location",
    "proxy-status",
    "refresh",
    "retry-after",
    "vary",
    "warning",
    "www-authenticate",
];

/// Names that HTTP or CGI gives a meaning to. They are no identity headers, no look-alike of one
/// may be allowed, and `Connection` cannot remove them.
pub(super) const STANDARD: [&str; 35] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "sec-websocket-key",
    "sec-websocket-version",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "via",
    "set-cookie",
];

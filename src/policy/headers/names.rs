//! Header names with a meaning to proxies and frameworks, whatever the config says. Written folded.

use super::verdict::DropReason;

/// The kind of a built-in name.
#[derive(Debug, Clone, Copy)]
pub(super) enum NameKind {
    Forwarding,
    ClientAddress,
    Override,
    HopByHop,
    Handshake,
    Credential,
}

/// Names with a fixed meaning.
pub(super) const BUILT_IN: [(&str, NameKind); 42] = [
    ("authorization", NameKind::Credential),
    ("connection", NameKind::Handshake),
    ("upgrade", NameKind::Handshake),
    // RFC 9110 section 7.6.1, and the older names that some servers still honour. HTTP2-Settings
    // belongs to h2c.
    ("keep-alive", NameKind::HopByHop),
    ("proxy-connection", NameKind::HopByHop),
    ("proxy-authenticate", NameKind::HopByHop),
    ("proxy-authorization", NameKind::HopByHop),
    ("te", NameKind::HopByHop),
    ("trailer", NameKind::HopByHop),
    ("http2-settings", NameKind::HopByHop),
    // Statements of proxies about a request. Menshen sets its own.
    ("forwarded", NameKind::Forwarding),
    ("x-forwarded", NameKind::Forwarding),
    ("x-real-ip", NameKind::Forwarding),
    ("x-scheme", NameKind::Forwarding),
    ("x-url-scheme", NameKind::Forwarding),
    ("front-end-https", NameKind::Forwarding),
    ("x-request-id", NameKind::Forwarding),
    // The client's address, as CDNs and load balancers name it without one of
    // `CLIENT_ADDRESS_ENDINGS`. Here so that one under a reserved prefix does not count as spoofed.
    ("x-client-ip", NameKind::ClientAddress),
    ("remote-addr", NameKind::ClientAddress),
    ("x-remote-addr", NameKind::ClientAddress),
    ("x-remote-ip", NameKind::ClientAddress),
    ("x-originating-ip", NameKind::ClientAddress),
    ("x-proxyuser-ip", NameKind::ClientAddress),
    ("cf-connecting-ipv6", NameKind::ClientAddress),
    ("cf-pseudo-ipv4", NameKind::ClientAddress),
    ("cloudfront-viewer-address", NameKind::ClientAddress),
    ("x-azure-clientip", NameKind::ClientAddress),
    ("x-azure-socketip", NameKind::ClientAddress),
    ("x-sucuri-clientip", NameKind::ClientAddress),
    ("x-appengine-user-ip", NameKind::ClientAddress),
    ("x-nf-client-connection-ip", NameKind::ClientAddress),
    // Another path, method or host than that of the decision.
    ("x-rewrite-url", NameKind::Override),
    ("x-override-url", NameKind::Override),
    ("x-http-method", NameKind::Override),
    ("x-http-method-override", NameKind::Override),
    ("x-method-override", NameKind::Override),
    ("x-http-host-override", NameKind::Override),
    ("x-host", NameKind::Override),
    // httpoxy (CVE-2016-5385): CGI turns it into HTTP_PROXY.
    ("proxy", NameKind::Override),
    // For an application and the server in front of it.
    ("x-sendfile-type", NameKind::Override),
    ("script-name", NameKind::Override),
    ("path-info", NameKind::Override),
];

/// Prefixes with a fixed meaning.
pub(super) const BUILT_IN_PREFIXES: [(&str, DropReason); 6] = [
    ("x-forwarded-", DropReason::Forwarding),
    ("x-original-", DropReason::Override),
    // CVE-2023-27487: `x-envoy-original-path` replaced the path.
    ("x-envoy-", DropReason::Override),
    // CVE-2025-29927: `x-middleware-subrequest` skipped the middleware.
    ("x-middleware-", DropReason::Override),
    ("x-accel-", DropReason::Override),
    ("x-menshen-", DropReason::Reserved),
];

/// Endings of names for the client's address: `EO-Connecting-IP`, `True-Client-IP`,
/// `Ali-Cdn-Real-Ip`, `Cdn-Src-Ip`, `X-Vercel-Forwarded-For`. Each CDN has a name of its own, so
/// their last words identify them, alone or after a `-`.
pub(super) const CLIENT_ADDRESS_ENDINGS: [&str; 5] = [
    "connecting-ip",
    "client-ip",
    "real-ip",
    "src-ip",
    "forwarded-for",
];

/// Fields of a response that may not be in trailers, in addition to [`STANDARD`].
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

/// Names with a meaning in HTTP or CGI. They cannot be identity headers, none that folds to one may
/// be allowed, and `Connection` cannot remove them.
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

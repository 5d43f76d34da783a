//! Header names that mean something to proxies and frameworks, whatever the config says. Written folded.

use super::DropReason;

/// What kind of header a built-in name is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Forwarding,
    Override,
    HopByHop,
    Handshake,
    Credential,
}

/// Names with a fixed meaning.
pub(super) const BUILT_IN: [(&str, Kind); 45] = [
    ("authorization", Kind::Credential),
    ("connection", Kind::Handshake),
    ("upgrade", Kind::Handshake),
    // RFC 9110 section 7.6.1, and the older names that some servers still honour. HTTP2-Settings belongs to h2c.
    ("keep-alive", Kind::HopByHop),
    ("proxy-connection", Kind::HopByHop),
    ("proxy-authenticate", Kind::HopByHop),
    ("proxy-authorization", Kind::HopByHop),
    ("te", Kind::HopByHop),
    ("trailer", Kind::HopByHop),
    ("http2-settings", Kind::HopByHop),
    // Where a request comes from, as CDNs, load balancers and servers name it.
    ("forwarded", Kind::Forwarding),
    ("x-forwarded", Kind::Forwarding),
    ("forwarded-for", Kind::Forwarding),
    ("x-real-ip", Kind::Forwarding),
    ("x-remote-ip", Kind::Forwarding),
    ("x-remote-addr", Kind::Forwarding),
    ("x-originating-ip", Kind::Forwarding),
    ("x-client-ip", Kind::Forwarding),
    ("x-cluster-client-ip", Kind::Forwarding),
    ("client-ip", Kind::Forwarding),
    ("true-client-ip", Kind::Forwarding),
    ("cf-connecting-ip", Kind::Forwarding),
    ("cf-connecting-ipv6", Kind::Forwarding),
    ("fastly-client-ip", Kind::Forwarding),
    ("fly-client-ip", Kind::Forwarding),
    ("x-azure-clientip", Kind::Forwarding),
    ("x-appengine-user-ip", Kind::Forwarding),
    ("ali-cdn-real-ip", Kind::Forwarding),
    ("proxy-client-ip", Kind::Forwarding),
    ("wl-proxy-client-ip", Kind::Forwarding),
    ("x-scheme", Kind::Forwarding),
    ("x-url-scheme", Kind::Forwarding),
    ("front-end-https", Kind::Forwarding),
    ("x-request-id", Kind::Forwarding),
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
    ("x-menshen-", DropReason::Managed),
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

/// Names that HTTP or CGI gives a meaning to. They are no identity headers, no look-alike of one may be allowed, and
/// `Connection` cannot remove them.
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

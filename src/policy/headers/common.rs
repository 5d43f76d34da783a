//! The header names that nearly all requests are made of, with their verdicts looked up at once.
//!
//! Must stay true: what is found is the verdict that the name itself has got, when the config was
//! compiled.

use super::{super::head::is_name, verdict::HeaderVerdict};

/// Names that clients and the proxies in front send all the time. Plain, in lower case.
pub(super) const NAMES: [&str; 46] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "cdn-loop",
    "charset",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "expect",
    "host",
    "if-modified-since",
    "if-none-match",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
];

/// Places of the table; each name has one of its own.
const PLACES: usize = 128;

/// The verdicts on common names.
#[derive(Debug, Clone)]
pub(super) struct CommonNames(Box<[Option<(&'static str, HeaderVerdict)>; PLACES]>);

impl Default for CommonNames {
    /// Without any.
    fn default() -> Self {
        Self(Box::new([None; PLACES]))
    }
}

impl CommonNames {
    /// With the verdicts that these names get.
    pub(super) fn new(verdict: impl Fn(&str) -> HeaderVerdict) -> Self {
        let mut table = Self::default();
        for name in NAMES {
            if let Some(place) = table.0.get_mut(place(name.as_bytes())) {
                place.get_or_insert((name, verdict(name)));
            }
        }
        table
    }

    /// The verdict on a name, if it is a common one; in any case.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<HeaderVerdict> {
        let (known, verdict) = self.0.get(place(name.as_bytes())).copied().flatten()?;
        is_name(name, known).then_some(verdict)
    }
}

/// Where a name stands: by its length and its first, fourth last and last letter, in any case. The
/// factors are found by trying, so that no two of [`NAMES`] stand in one place.
#[inline]
fn place(name: &[u8]) -> usize {
    let letter = |at: usize| usize::from(name.get(at).copied().unwrap_or_default() & 0x1f);
    let length = name.len();
    (length * 3
        + letter(0) * 48
        + letter(length.wrapping_sub(4)) * 29
        + letter(length.wrapping_sub(1)) * 16)
        % PLACES
}

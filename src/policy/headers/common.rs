//! The most frequent header names, with their verdicts in a table.
//!
//! Must stay true: the table has the verdict that the policy itself gave when it was compiled.

use super::{super::head::is_name, verdict::HeaderVerdict};

/// Names that clients and proxies in front send most often. Plain, in lower case.
pub(super) const NAMES: &str = "accept accept-encoding accept-language authorization cache-control cdn-loop charset \
    connection content-length content-type cookie dnt expect host if-modified-since \
    if-none-match keep-alive origin pragma priority range referer sec-ch-ua sec-ch-ua-mobile \
    sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-websocket-extensions \
    sec-websocket-key sec-websocket-version te traceparent tracestate transfer-encoding upgrade \
    upgrade-insecure-requests user-agent via x-forwarded-for x-forwarded-host x-forwarded-port \
    x-forwarded-proto x-real-ip x-request-id x-requested-with";

/// Slots of the table; each name has one of its own.
const SLOTS: usize = 128;

/// The verdicts on common names.
#[derive(Debug, Clone)]
pub(super) struct CommonNames(Box<[Option<(&'static str, HeaderVerdict)>; SLOTS]>);

impl Default for CommonNames {
    /// An empty table.
    fn default() -> Self {
        Self(Box::new([None; SLOTS]))
    }
}

impl CommonNames {
    /// A table with the verdicts on these names.
    pub(super) fn new(verdict: impl Fn(&str) -> HeaderVerdict) -> Self {
        let mut table = Self::default();
        for name in NAMES.split_ascii_whitespace() {
            if let Some(slot) = table.0.get_mut(slot(name.as_bytes())) {
                slot.get_or_insert((name, verdict(name)));
            }
        }
        table
    }

    /// The verdict on a name in any case, if it is in the table.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<HeaderVerdict> {
        let (known, verdict) = self.0.get(slot(name.as_bytes())).copied().flatten()?;
        is_name(name, known).then_some(verdict)
    }
}

/// The slot of a name: a hash of its length and its first, fourth last and last letter, in any
/// case. The factors were found by trial, so that no two of [`NAMES`] share a slot.
#[inline]
fn slot(name: &[u8]) -> usize {
    let letter = |at: usize| usize::from(name.get(at).copied().unwrap_or_default() & 0x1f);
    let length = name.len();
    (length * 3
        + letter(0) * 48
        + letter(length.wrapping_sub(4)) * 29
        + letter(length.wrapping_sub(1)) * 16)
        % SLOTS
}

//! The request id from a trusted proxy.

use crate::policy::{ClientConnection, Head};

/// The request id from a trusted proxy, if it is valid.
pub(super) fn from_proxy(head: &Head<'_>, client: ClientConnection) -> Option<String> {
    if client.trusted_peer {
        only_valid(head.values("x-request-id"))
    } else {
        None
    }
}

/// One `X-Request-Id` of 1 to 64 letters, digits, `-`, `_` or `.`: anything else could mislead a
/// search in the logs.
pub(super) fn only_valid<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<String> {
    let value = str::from_utf8(values.next()?).ok()?;
    let plain = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (values.next().is_none() && plain && (1..=64).contains(&value.len())).then(|| value.to_owned())
}

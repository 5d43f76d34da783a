//! Values as lists of many people show them: enough to recognise, too little to use.

use std::net::IpAddr;

use crate::telemetry::mask_phones;

/// Characters in a row that could be a token, an openid or a user id.
const TOKEN_LEN: usize = 24;

/// The network of an address: the first half of an IPv4 address, the first 48 bits of an IPv6 one.
pub(super) fn address(text: &str) -> String {
    match text.parse() {
        Ok(IpAddr::V4(address)) => {
            let [first, second, ..] = address.octets();
            format!("{first}.{second}.*.*")
        }
        Ok(IpAddr::V6(address)) => {
            let [first, second, third, ..] = address.segments();
            format!("{first:x}:{second:x}:{third:x}:*")
        }
        Err(_) => "*".to_owned(),
    }
}

/// The end of a user id.
pub(super) fn user_id(id: &str) -> String {
    let count = id.chars().count();
    let shown = if count >= 12 { 6 } else { 0 };
    let end: String = id.chars().skip(count - shown).collect();
    format!("…{end}")
}

/// A path without what could be a token, an id or a phone number in it.
pub(super) fn path(text: &str) -> String {
    let is_of_token =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | '+' | '%');
    let parts = text.split_inclusive(|c| !is_of_token(c)).map(|part| {
        let run = part.trim_end_matches(|c| !is_of_token(c));
        if run.len() < TOKEN_LEN {
            return part.to_owned();
        }
        // All are ASCII.
        format!("{}…{}", &run[..6], &part[run.len()..])
    });
    let without_tokens: String = parts.collect();
    mask_phones(&without_tokens).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_no_address_id_or_token_in_full() {
        assert_eq!(address("203.0.113.77"), "203.0.*.*");
        assert_eq!(address("2001:db8:1:2::3"), "2001:db8:1:*");
        assert_eq!(address("?"), "*");
        assert_eq!(user_id("019a4f6e-8f1b-7c33-9a55-2f7d1c0b9e11"), "…0b9e11");
        assert_eq!(user_id("42"), "…");
        let token = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.e30.c2ln";
        assert_eq!(path(&format!("/reset/{token}/now")), "/reset/eyJhbG…/now");
        assert_eq!(
            path("/orders/019a4f6e-8f1b-7c33-9a55-2f7d1c0b9e11"),
            "/orders/019a4f…"
        );
        assert_eq!(path("/phones/13800138000"), "/phones/***");
        assert_eq!(path("/订单/1"), "/订单/1");
    }
}

//! What a text is if it is a token: its kind and its claims, for people, unverified.
//!
//! Must stay true: no signature and no MAC is shown, nor a refresh token of ours inside a claim,
//! however deep; nothing longer than the gate reads is decoded; validity is decided elsewhere.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    RefreshTokens, SessionHandles,
    jws::MAX_TOKEN_LEN,
    keyring::{ACCESS_TOKEN, ASSERTION, REFRESH_TOKEN},
};
use crate::types::SessionId;

/// What a text seems to be.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenInfo {
    /// A refresh token: its session and its counter, from 0.
    Refresh { session: SessionId, counter: u64 },
    /// A session handle, which a dialect issues in place of WeChat's `session_key`.
    Handle { session: SessionId },
    /// A signed JWT (RFC 7519, in the compact form of RFC 7515).
    Jwt {
        kind: JwtKind,
        header: Map<String, Value>,
        claims: Map<String, Value>,
    },
    /// No token, and why.
    Nothing(&'static str),
}

/// The kind of a JWT by its `typ` (RFC 8725 section 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtKind {
    Access,
    Refresh,
    Assertion,
    /// Of an external issuer, or minted in a backend's own form.
    Other,
}

impl JwtKind {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access token",
            Self::Refresh => "refresh token in the shape of a JWT",
            Self::Assertion => "assertion for the backend",
            Self::Other => "JWT of another kind",
        }
    }
}

impl TokenInfo {
    /// Decodes a text without verifying it.
    pub fn decode(text: &str) -> Self {
        if let Some(token) = RefreshTokens::parse(text) {
            return Self::Refresh {
                session: token.session,
                counter: token.counter,
            };
        }
        if let Some(handle) = SessionHandles::parse(text) {
            return Self::Handle {
                session: handle.session,
            };
        }
        if text.len() > MAX_TOKEN_LEN {
            return Self::Nothing("longer than 8 KiB");
        }
        let parts: Vec<_> = text.splitn(6, '.').collect();
        let [header, payload, _signature] = parts[..] else {
            return Self::Nothing(match parts.len() {
                5 => "five parts: it is encrypted (RFC 7516), which menshen does not take",
                _ => "neither a JWT of three parts nor a token of menshen",
            });
        };
        let (Some(mut header), Some(mut claims)) = (object(header), object(payload)) else {
            return Self::Nothing(
                "three parts, but the first two are not JSON objects in base64url",
            );
        };
        let kind = match header.get("typ").and_then(Value::as_str) {
            Some(ACCESS_TOKEN) => JwtKind::Access,
            Some(REFRESH_TOKEN) => JwtKind::Refresh,
            Some(ASSERTION) => JwtKind::Assertion,
            Some(_) | None => JwtKind::Other,
        };
        // A refresh token is a credential, wherever it stands.
        claims
            .values_mut()
            .chain(header.values_mut())
            .for_each(mask);
        Self::Jwt {
            kind,
            header,
            claims,
        }
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) if RefreshTokens::parse(text).is_some() => *value = "***".into(),
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Object(members) => members.values_mut().for_each(mask),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{crypto::Key, token::fixture};

    fn jwt(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    #[test]
    fn each_form_of_ours_is_told() {
        let session = fixture::session();
        let refresh = RefreshTokens::new(Key::new([9; 32])).issue(&session);
        let handle = SessionHandles::new(Key::new([9; 32])).issue(&session);
        assert_eq!(
            TokenInfo::decode(&refresh),
            TokenInfo::Refresh {
                session: session.id,
                counter: session.counter
            }
        );
        assert_eq!(
            TokenInfo::decode(&handle),
            TokenInfo::Handle {
                session: session.id
            }
        );
        for (typ, expected) in [
            (json!("at+jwt"), JwtKind::Access),
            (json!("rt+jwt"), JwtKind::Refresh),
            (json!("auth-assertion+jwt"), JwtKind::Assertion),
            (json!("JWT"), JwtKind::Other),
            (json!(7), JwtKind::Other),
        ] {
            let (header, claims) = (
                json!({"alg": "none", "typ": typ}),
                json!({"sub": "u", "jti": refresh, "x": [{"y": refresh}]}),
            );
            let TokenInfo::Jwt {
                kind,
                header: shown,
                claims,
            } = TokenInfo::decode(&jwt(&header, &claims))
            else {
                panic!("a JWT")
            };
            assert_eq!(
                (kind, shown["alg"].as_str(), claims["sub"].as_str()),
                (expected, Some("none"), Some("u"))
            );
            assert_eq!(
                (&claims["jti"], &claims["x"][0]["y"]),
                (&json!("***"), &json!("***")),
                "a refresh token inside is not shown"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_told_as_such() {
        let five = "a.b.c.d.e";
        let long = "a".repeat(MAX_TOKEN_LEN + 1);
        for text in [
            "",
            "rubbish",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            five,
            "a.b.c.d.e.f",
            "...",
            &long,
            "W10.W10.x",
        ] {
            assert!(
                matches!(TokenInfo::decode(text), TokenInfo::Nothing(_)),
                "{text:?}"
            );
        }
    }
}

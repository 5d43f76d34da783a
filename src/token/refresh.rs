//! Refresh tokens: whose, a session id, a counter and a MAC, so that a session lies within its
//! user's record and a token needs none.
//!
//! The text is `mrt2_` and base64url of 16 bytes of session id, 8 bytes of counter, 32 bytes of
//! HMAC-SHA256 and the user's id. The prefix lets secret scanners find one that was committed or
//! logged by mistake; `2` is the version of the form.
//!
//! Must stay true: each session has a key of its own, so nothing of one session helps with another;
//! whether a token is the present one is decided by the store, not by the MAC.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::jws::CompactJws;
use crate::{
    crypto::{self, Key},
    store::{RefreshSalt, Session},
    types::{Secret, SessionId, UserId},
};

const PREFIX: &str = "mrt2_";
/// All but the user's id.
const FIXED_BYTES: usize = 16 + 8 + 32;
/// The longest user id has 64 bytes.
const MAX_LEN: usize = PREFIX.len() + (FIXED_BYTES + 64).div_ceil(3) * 4;

/// Makes and checks refresh tokens.
#[derive(Debug)]
pub struct RefreshTokens {
    key: Key,
}

/// A refresh token that has the right form. Nothing in it is proven before
/// [`RefreshTokens::check`].
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    pub user: UserId,
    pub session: SessionId,
    pub counter: u64,
    mac: [u8; 32],
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken")
            .field("session", &self.session)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

impl RefreshTokens {
    /// `key` must be used for nothing else; all replicas share it.
    pub const fn new(key: Key) -> Self {
        Self { key }
    }

    /// The token of the session's present counter. The same counter always gives the same text, so
    /// a replayed rotation returns the same successor.
    pub fn issue(&self, session: &Session) -> String {
        let Session {
            id,
            user,
            counter,
            salt,
            ..
        } = session;
        let bytes = [
            id.bits().to_be_bytes().as_slice(),
            &counter.to_be_bytes(),
            &self.mac(user, *id, *counter, salt),
            user.as_str().as_bytes(),
        ]
        .concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Parses a token that may be inside a JWT, as its `jti`. The JWT's signature is not checked:
    /// only the token in it is used, which has a MAC of its own.
    pub fn parse_wrapped(text: &str) -> Option<RefreshToken> {
        #[derive(serde::Deserialize)]
        struct Inside {
            jti: String,
        }
        let Ok(jws) = CompactJws::split(text) else {
            return Self::parse(text);
        };
        let inside: Inside =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jws.payload).ok()?).ok()?;
        Self::parse(&inside.jti)
    }

    /// Reads a token; one spelling for each, nothing before or after it.
    pub fn parse(text: &str) -> Option<RefreshToken> {
        if text.len() > MAX_LEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (session, rest) = bytes.split_first_chunk::<16>()?;
        let (counter, rest) = rest.split_first_chunk::<8>()?;
        let (mac, user) = rest.split_first_chunk::<32>()?;
        Some(RefreshToken {
            user: UserId::parse(str::from_utf8(user).ok()?).ok()?,
            session: SessionId::from_bits(u128::from_be_bytes(*session)),
            counter: u64::from_be_bytes(*counter),
            mac: *mac,
        })
    }

    /// Whether the MAC is right for the session with this salt. Constant time.
    pub fn check(&self, token: &RefreshToken, salt: &RefreshSalt) -> bool {
        let mac = self.mac(&token.user, token.session, token.counter, salt);
        crypto::constant_time_eq(&mac, &token.mac)
    }

    fn mac(&self, user: &UserId, session: SessionId, counter: u64, salt: &RefreshSalt) -> [u8; 32] {
        let key = Secret::new(crypto::mac(&self.key, &[b"refresh token", &salt.0]));
        crypto::mac(
            &key,
            &[
                user.as_str().as_bytes(),
                &session.bits().to_be_bytes(),
                &counter.to_be_bytes(),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::{fixture, jws::MAX_TOKEN_LEN};

    fn tokens() -> RefreshTokens {
        RefreshTokens::new(Key::new([9; 32]))
    }

    #[test]
    fn what_was_issued_reads_back_and_checks() {
        for counter in [0, 1, u64::MAX] {
            let session = Session {
                counter,
                ..fixture::session()
            };
            let text = tokens().issue(&session);
            assert!(text.len() <= MAX_LEN);
            let token = RefreshTokens::parse(&text).unwrap();
            assert_eq!(
                (&token.user, token.session, token.counter),
                (&session.user, session.id, counter)
            );
            assert!(tokens().check(&token, &session.salt));
            assert_eq!(
                tokens().issue(&session),
                text,
                "a replay has to give the same text"
            );
        }
    }

    #[test]
    fn another_key_salt_user_session_or_counter_does_not_check() {
        let session = fixture::session();
        let token = RefreshTokens::parse(&tokens().issue(&session)).unwrap();
        assert!(!RefreshTokens::new(Key::new([8; 32])).check(&token, &session.salt));
        assert!(!tokens().check(&token, &RefreshSalt([1; 16])));
        assert!(!tokens().check(
            &RefreshToken {
                counter: token.counter + 1,
                ..token.clone()
            },
            &session.salt
        ));
        assert!(!tokens().check(
            &RefreshToken {
                user: UserId::parse("somebody-else").unwrap(),
                ..token.clone()
            },
            &session.salt
        ));
        assert!(!tokens().check(
            &RefreshToken {
                session: SessionId::from_bits(2),
                ..token
            },
            &session.salt
        ));
    }

    #[test]
    fn there_is_one_spelling() {
        let good = tokens().issue(&fixture::session());
        let last = good.chars().last().unwrap();
        // Where the bytes leave bits of the last sign over, the signs next to it differ in those alone.
        let body = &good[..good.len() - 1];
        let respelt = ('0'..='z')
            .filter(|c| *c != last)
            .map(|c| format!("{body}{c}"));
        for text in respelt.chain([
            String::new(),
            "mrt2_".to_owned(),
            format!("{good}="),
            format!(" {good}"),
            format!("{good}\n"),
            good[..good.len() - 1].to_owned(),
            good.replacen("mrt2_", "mrt1_", 1),
            good.replacen("mrt2_", "MRT2_", 1),
        ]) {
            let passes = RefreshTokens::parse(&text)
                .is_some_and(|token| tokens().check(&token, &fixture::session().salt));
            assert!(!passes, "{text:?}");
        }
    }

    #[test]
    fn a_token_is_found_inside_a_jwt() {
        let token = tokens().issue(&fixture::session());
        let jwt = |payload: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
        let inside = jwt(&format!(r#"{{"exp":1,"jti":"{token}"}}"#));
        for text in [&token, &inside] {
            let read = RefreshTokens::parse_wrapped(text).unwrap();
            assert!(tokens().check(&read, &fixture::session().salt), "{text}");
        }
        for text in [
            "..",
            "a.b.c",
            &jwt("{}"),
            &jwt(r#"{"jti":1}"#),
            &jwt(&format!(r#"{{"jti":"{token}","jti":"{token}"}}"#)),
            &format!("{inside}.x"),
            &jwt(&format!(
                r#"{{"pad":"{}","jti":"{token}"}}"#,
                "x".repeat(MAX_TOKEN_LEN)
            )),
        ] {
            assert!(RefreshTokens::parse_wrapped(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_token_does_not_print() {
        let token = RefreshTokens::parse(&tokens().issue(&fixture::session())).unwrap();
        assert!(!format!("{token:?}").contains("mac"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            prop_assert!(RefreshTokens::parse(&text).is_none());
        }

        #[test]
        fn a_changed_byte_never_checks(at in 0..MAX_LEN, to in 0u8..128) {
            let good = tokens().issue(&fixture::session());
            let mut bytes = good.clone().into_bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            let text = String::from_utf8(bytes).unwrap();
            let passes = RefreshTokens::parse(&text).is_some_and(|token| tokens().check(&token, &fixture::session().salt));
            prop_assert!(!passes);
        }
    }
}

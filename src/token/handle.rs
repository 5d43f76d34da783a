//! Session handles, which clients get where their API once gave them WeChat's `session_key`.
//!
//! A handle names one session and proves that it was issued for it; it authorizes only what a
//! dialect lets it (the legacy phone button). The text is `msh1_` and base64url of 16 bytes of
//! session id and 32 bytes of HMAC-SHA256.
//!
//! Must stay true: a handle is no refresh token and no part of one, and is valid no longer than its
//! session, which the store decides.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    crypto::{self, Key},
    store::{RefreshSalt, Session},
    types::SessionId,
};

const PREFIX: &str = "msh1_";
const BYTES: usize = 16 + 32;
/// 48 bytes in base64.
const LENGTH: usize = PREFIX.len() + BYTES / 3 * 4;

/// Makes and checks session handles.
#[derive(Debug)]
pub struct SessionHandles {
    key: Key,
}

/// A handle that has the right form. Nothing in it is proven before [`SessionHandles::check`].
#[derive(Clone, PartialEq, Eq)]
pub struct SessionHandle {
    pub session: SessionId,
    mac: [u8; 32],
}

/// Prints no credential.
impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl SessionHandles {
    /// `key` must be used for nothing else; all replicas share it.
    pub const fn new(key: Key) -> Self {
        Self { key }
    }

    /// The handle of a session; it never changes.
    pub fn issue(&self, session: &Session) -> String {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(&session.id.bits().to_be_bytes());
        bytes[16..].copy_from_slice(&self.mac(session.id, &session.salt));
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a handle; one spelling for each, nothing before or after it.
    pub fn parse(text: &str) -> Option<SessionHandle> {
        if text.len() != LENGTH {
            return None;
        }
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD
            .decode(text.strip_prefix(PREFIX)?)
            .ok()?
            .try_into()
            .ok()?;
        let (session, mac) = bytes.split_first_chunk::<16>()?;
        Some(SessionHandle {
            session: SessionId::from_bits(u128::from_be_bytes(*session)),
            mac: mac.try_into().ok()?,
        })
    }

    /// Whether the MAC is right for the session with this salt. Constant time.
    pub fn check(&self, handle: &SessionHandle, salt: &RefreshSalt) -> bool {
        crypto::constant_time_eq(&self.mac(handle.session, salt), &handle.mac)
    }

    fn mac(&self, session: SessionId, salt: &RefreshSalt) -> [u8; 32] {
        crypto::mac(
            &self.key,
            &[b"session handle", &salt.0, &session.bits().to_be_bytes()],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{RefreshTokens, fixture};

    #[test]
    fn a_handle_is_good_for_its_session_alone() {
        let (handles, session) = (SessionHandles::new(Key::new([9; 32])), fixture::session());
        let text = handles.issue(&session);
        assert_eq!(text.len(), LENGTH);
        let handle = SessionHandles::parse(&text).unwrap();
        assert_eq!(handle.session, session.id);
        assert!(handles.check(&handle, &session.salt));
        assert!(!handles.check(&handle, &RefreshSalt([1; 16])));
        assert!(!handles.check(
            &SessionHandle {
                session: SessionId::from_bits(2),
                ..handle.clone()
            },
            &session.salt
        ));
        assert!(!SessionHandles::new(Key::new([8; 32])).check(&handle, &session.salt));
        assert!(!format!("{handle:?}").contains("mac"));
    }

    #[test]
    fn a_handle_and_a_refresh_token_are_not_each_other() {
        let (key, session) = (Key::new([9; 32]), fixture::session());
        let (handle, token) = (
            SessionHandles::new(key.clone()).issue(&session),
            RefreshTokens::new(key).issue(&session),
        );
        assert!(RefreshTokens::parse(&handle).is_none() && SessionHandles::parse(&token).is_none());
        assert!(RefreshTokens::parse(&handle.replacen(PREFIX, "mrt1_", 1)).is_none());
        for text in [
            "",
            "msh1_",
            &format!("{handle}="),
            &format!(" {handle}"),
            &handle.replacen("msh1_", "msh2_", 1),
        ] {
            assert!(SessionHandles::parse(text).is_none(), "{text:?}");
        }
    }
}

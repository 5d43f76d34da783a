//! Session handles, which clients get where their API once gave them WeChat's `session_key`.
//!
//! A handle names one session and proves that it was issued for it; it authorizes only what a
//! dialect lets it (the legacy phone button). The text is `msh2_` and base64url of 16 bytes of
//! session id, 32 bytes of HMAC-SHA256 and the user's id.
//!
//! Must stay true: a handle is no refresh token and no part of one, and is valid no longer than its
//! session, which the store decides.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    crypto::{self, Key},
    store::{RefreshSalt, Session},
    types::{SessionId, UserId},
};

const PREFIX: &str = "msh2_";
/// With the longest user id, of 64 bytes.
const MAX_LEN: usize = PREFIX.len() + (16usize + 32 + 64).div_ceil(3) * 4;

/// Makes and checks session handles.
#[derive(Debug)]
pub struct SessionHandles {
    key: Key,
}

/// A handle that has the right form. Nothing in it is proven before [`SessionHandles::check`].
#[derive(Clone, PartialEq, Eq)]
pub struct SessionHandle {
    pub user: UserId,
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
        let Session { id, user, salt, .. } = session;
        let bytes = [
            id.bits().to_be_bytes().as_slice(),
            &self.mac(user, *id, salt),
            user.as_str().as_bytes(),
        ]
        .concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a handle; one spelling for each, nothing before or after it.
    pub fn parse(text: &str) -> Option<SessionHandle> {
        if text.len() > MAX_LEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (session, rest) = bytes.split_first_chunk::<16>()?;
        let (mac, user) = rest.split_first_chunk::<32>()?;
        Some(SessionHandle {
            user: UserId::parse(str::from_utf8(user).ok()?).ok()?,
            session: SessionId::from_bits(u128::from_be_bytes(*session)),
            mac: *mac,
        })
    }

    /// Whether the MAC is right for the session with this salt. Constant time.
    pub fn check(&self, handle: &SessionHandle, salt: &RefreshSalt) -> bool {
        crypto::constant_time_eq(&self.mac(&handle.user, handle.session, salt), &handle.mac)
    }

    fn mac(&self, user: &UserId, session: SessionId, salt: &RefreshSalt) -> [u8; 32] {
        crypto::mac(
            &self.key,
            &[
                b"session handle",
                &salt.0,
                user.as_str().as_bytes(),
                &session.bits().to_be_bytes(),
            ],
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
        assert!(text.len() <= MAX_LEN);
        let handle = SessionHandles::parse(&text).unwrap();
        assert_eq!((&handle.user, handle.session), (&session.user, session.id));
        assert!(handles.check(&handle, &session.salt));
        assert!(!handles.check(&handle, &RefreshSalt([1; 16])));
        assert!(!handles.check(
            &SessionHandle {
                session: SessionId::from_bits(2),
                ..handle.clone()
            },
            &session.salt
        ));
        assert!(!handles.check(
            &SessionHandle {
                user: UserId::parse("somebody-else").unwrap(),
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
        assert!(RefreshTokens::parse(&handle.replacen(PREFIX, "mrt2_", 1)).is_none());
        for text in [
            "",
            "msh2_",
            &format!("{handle}="),
            &format!(" {handle}"),
            &handle.replacen("msh2_", "msh1_", 1),
        ] {
            assert!(SessionHandles::parse(text).is_none(), "{text:?}");
        }
    }
}

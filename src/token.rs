//! Stand-in, dropped at merge.
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    crypto,
    store::{RefreshSalt, Session, User},
    types::{ClientType, SessionId, Timestamp, UserId, UserType},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessClaims {
    pub iss: String,
    pub aud: String,
    pub sub: UserId,
    pub sid: SessionId,
    pub iat: u64,
    pub exp: u64,
    pub jti: String,
    pub user_type: UserType,
    pub roles: Vec<String>,
    pub client_type: ClientType,
    pub ep: u64,
    pub gep: u64,
}
#[derive(Debug)]
pub struct Grant<'a> {
    pub user: &'a User,
    pub session: &'a Session,
    pub global_epoch: u64,
}
#[derive(Debug)]
pub struct AccessToken {
    pub text: String,
    pub expires_in: Duration,
}
#[derive(Debug, thiserror::Error)]
#[error("issue")]
pub struct IssueError;
#[derive(Debug)]
pub struct Issuer {
    pub ttl: Duration,
}
impl Issuer {
    pub fn access(&self, grant: &Grant<'_>, now: Timestamp) -> Result<AccessToken, IssueError> {
        let claims = AccessClaims {
            iss: "i".into(),
            aud: "a".into(),
            sub: grant.user.id.clone(),
            sid: grant.session.id,
            iat: now.as_secs(),
            exp: now.plus(self.ttl).as_secs(),
            jti: "j".into(),
            user_type: grant.user.user_type.clone(),
            roles: grant.user.roles.clone(),
            client_type: grant.session.client_type,
            ep: grant.user.epoch,
            gep: grant.global_epoch,
        };
        let text = B64.encode(serde_json::to_vec(&claims).map_err(|_| IssueError)?);
        Ok(AccessToken { text, expires_in: self.ttl })
    }
}
#[derive(Debug)]
pub struct RefreshToken {
    pub session: SessionId,
    pub counter: u64,
    mac: [u8; 32],
}
#[derive(Debug)]
pub struct RefreshTokens(crypto::Key);
impl RefreshTokens {
    pub fn new(key: crypto::Key) -> Self {
        Self(key)
    }
    fn mac(&self, session: SessionId, counter: u64, salt: &RefreshSalt) -> [u8; 32] {
        crypto::mac(&self.0, &[&salt.0, &session.bits().to_be_bytes(), &counter.to_be_bytes()])
    }
    pub fn issue(&self, session: &Session) -> String {
        let mac = self.mac(session.id, session.counter, &session.salt);
        B64.encode([&session.id.bits().to_be_bytes()[..], &session.counter.to_be_bytes(), &mac].concat())
    }
    pub fn parse(&self, text: &str) -> Option<RefreshToken> {
        let raw = B64.decode(text).ok()?;
        let raw: [u8; 56] = raw.try_into().ok()?;
        Some(RefreshToken {
            session: SessionId::from_bits(u128::from_be_bytes(raw[..16].try_into().ok()?)),
            counter: u64::from_be_bytes(raw[16..24].try_into().ok()?),
            mac: raw[24..].try_into().ok()?,
        })
    }
    pub fn check(&self, token: &RefreshToken, salt: &RefreshSalt) -> bool {
        crypto::same(&self.mac(token.session, token.counter, salt), &token.mac)
    }
}
#[derive(Debug)]
pub struct Keyring;
impl Keyring {
    pub fn jwks(&self) -> Bytes {
        Bytes::from_static(b"{\"keys\":[]}")
    }
}

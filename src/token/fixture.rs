//! What tests of tokens start from: one user and one session.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{AccessClaims, CustomClaims, ExternalClaims, IdentityClaims};
use crate::{
    store::{Profile, RefreshSalt, Session, UnknownFields, User},
    types::{ClientType, ExtraClaims, SessionId, Timestamp, UserId, UserType},
};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) fn user() -> User {
    User {
        id: UserId::parse("42").unwrap(),
        user_type: UserType::user(),
        roles: vec!["editor".to_owned()],
        epoch: 3,
        disabled: false,
        profile: Profile::default(),
        phone: None,
        username: None,
        claims: ExtraClaims::default(),
        created_at: NOW,
        last_login_at: NOW,
        unknown: UnknownFields::default(),
    }
}

pub(crate) fn session() -> Session {
    Session {
        id: SessionId::from_bits(0xabc),
        user: user().id,
        client_type: ClientType::Web,
        app_id: None,
        created_at: NOW,
        last_used_at: NOW,
        counter: 5,
        rotated_at: NOW,
        idle_end: NOW.plus(Duration::from_hours(24)),
        absolute_end: NOW.plus(Duration::from_secs(100_000)),
        salt: RefreshSalt([3; 16]),
    }
}

pub(crate) fn claims() -> AccessClaims {
    AccessClaims {
        renewable: false,
        sub: user().id,
        sid: session().id,
        iat: NOW,
        exp: NOW.plus(Duration::from_mins(15)),
        user_type: UserType::user(),
        roles: user().roles,
        client_type: ClientType::Web,
        ep: 3,
        gep: 1,
        identity_claims: IdentityClaims::default(),
        custom_claims: CustomClaims::default(),
    }
}

/// A token of an issuer called `legacy` for this user.
pub(crate) fn foreign(sub: &str) -> ExternalClaims {
    ExternalClaims {
        issuer: "legacy".into(),
        sub: UserId::parse(sub).unwrap(),
        exp: Some(NOW.plus(Duration::from_mins(15))),
        end: Some(NOW.plus(Duration::from_mins(15))),
        user_type: UserType::user(),
        roles: Vec::new(),
        client_type: None,
        sid: None,
        identity_claims: IdentityClaims::default(),
        custom_claims: CustomClaims::default(),
    }
}

/// What the header of a JWS says, unchecked.
pub(crate) fn jws_header(text: &str) -> Value {
    jws_part(text, 0)
}

/// What a JWT says, unchecked.
pub(crate) fn jws_claims(text: &str) -> Value {
    jws_part(text, 1)
}

fn jws_part(text: &str, part: usize) -> Value {
    serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(text.split('.').nth(part).unwrap())
            .unwrap(),
    )
    .unwrap()
}

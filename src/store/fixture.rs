//! The login that tests and benches of the store begin with. Always compiled, because benches are
//! another crate; the binary contains none of it.

use std::time::Duration;

use super::{
    LoginProof, NewLogin, NewSession, NewUserId, OutboxPolicy, Profile, RefreshSalt, WechatIdentity,
};
use crate::types::{
    AppId, ClientType, ExtraClaims, OpenId, Secret, SessionId, Timestamp, UserId, UserType,
};

/// When tests begin.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(super) const IDLE: Duration = Duration::from_hours(30 * 24);
pub(super) const ABSOLUTE: Duration = Duration::from_hours(90 * 24);

/// A login of a person, on a session of this number. A test changes what it is about.
///
/// # Panics
/// When the name is not an openid.
pub fn login_of(person: &str, session: u128) -> NewLogin {
    NewLogin {
        proof: LoginProof::Wechat(WechatIdentity {
            app_id: AppId::parse("wx1").expect("an app id"),
            openid: OpenId::parse(person).expect("an openid"),
            unionid: None,
            session_key: Some(Secret::new("c2Vzc2lvbi1rZXktb2YtdGVzdA==".to_owned())),
        }),
        profile: Profile::default(),
        replaces_profile: false,
        user_type: UserType::user(),
        new_user: NewUserId::Generated(UserId::parse(&format!("u{session}")).expect("a user id")),
        claims: ExtraClaims::default(),
        outbox: OutboxPolicy::default(),
        registration_open: true,
        code: None,
        code_client: None,
        merge: false,
        session: NewSession {
            id: SessionId::from_bits(session),
            client_type: ClientType::MiniProgram,
            salt: RefreshSalt(session.to_be_bytes()),
            idle_ttl: IDLE,
            absolute_ttl: ABSOLUTE,
        },
        single_per_client_type: false,
        max_sessions: 100,
        now: NOW,
    }
}

/// The WeChat identity of a login.
#[cfg(test)]
pub(super) fn wechat_of(login: &mut NewLogin) -> &mut WechatIdentity {
    match &mut login.proof {
        LoginProof::Wechat(identity) => identity,
        other => panic!("not a login with WeChat: {other:?}"),
    }
}

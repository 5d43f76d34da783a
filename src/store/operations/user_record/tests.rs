//! What a user's record promises.

use std::time::Duration;

use super::*;
use crate::{
    store::fixture::{ABSOLUTE, IDLE, NOW},
    types::{ExtraClaims, UserType},
};

fn user() -> User {
    User {
        id: UserId::parse("0190a7c2-0000-7000-8000-000000000000").unwrap(),
        user_type: UserType::user(),
        roles: vec!["editor".to_owned()],
        epoch: 3,
        disabled: false,
        profile: crate::store::Profile::default(),
        phone: None,
        username: None,
        claims: ExtraClaims::default(),
        created_at: NOW,
        last_login_at: NOW,
        unknown: UnknownFields::default(),
    }
}

fn with_sessions(count: u128) -> UserRecord {
    let mut record = UserRecord::new(user());
    let (app, openid) = (
        AppId::parse("wx0123456789abcdef").unwrap(),
        OpenId::parse("oAbCdEfGhIjKlMnOpQrStUvWxYz0").unwrap(),
    );
    record.add_openid(&app, &openid);
    record.add_openid(&app, &openid);
    for n in 0..count {
        let session = Session {
            id: SessionId::from_bits(u128::MAX - n),
            user: record.user.id.clone(),
            client_type: ClientType::MiniProgram,
            app_id: Some(app.clone()),
            created_at: NOW,
            last_used_at: NOW,
            counter: 7,
            rotated_at: NOW,
            idle_end: NOW.plus(IDLE),
            absolute_end: NOW.plus(ABSOLUTE),
            salt: RefreshSalt([9; 16]),
        };
        record.sessions.push(SessionRecord {
            session,
            openid: Some(openid.clone()),
            global_epoch: 1,
            is_new_user: false,
            evicted: Vec::new(),
            merged: None,
            unknown: UnknownFields::default(),
        });
    }
    record
}

fn encoded(record: &UserRecord) -> Vec<u8> {
    RecordCipher::encode(b"u/1", &UserForm::from_record(record))
        .unwrap()
        .to_vec()
}

#[test]
fn a_user_reads_back_with_all_sessions() {
    let mut record = with_sessions(3);
    record.sessions[1].session.rotated_at = NOW.minus(Duration::from_secs(9));
    record.sessions[2].openid = None;
    record.sessions[2].session.app_id = None;
    record.end_session(SessionId::from_bits(u128::MAX), NOW);
    let form: UserForm = RecordCipher::decode(b"u/1", &encoded(&record)).unwrap();
    let read = form.into_record();
    assert_eq!((&read.user, read.openids.len()), (&record.user, 1));
    for (read, written) in read.sessions.iter().zip(&record.sessions) {
        assert_eq!(read.session, written.session);
        assert_eq!(read.openid, written.openid);
    }
    assert_eq!((read.sessions.len(), read.ended.len()), (2, 1));
}

#[test]
fn a_session_is_small() {
    let each = (encoded(&with_sessions(20)).len() - encoded(&with_sessions(0)).len()) / 20;
    assert!(each <= 130, "{each} bytes");
    assert!(encoded(&with_sessions(100)).len() < 16 * 1024);
}

#[test]
fn ended_sessions_are_remembered_for_a_while_and_not_all() {
    let mut record = with_sessions(20);
    for n in 0..20 {
        record.end_session(SessionId::from_bits(u128::MAX - n), NOW);
    }
    let remembered = |record: &UserRecord, n, now| {
        record
            .ended_session(SessionId::from_bits(u128::MAX - n), now)
            .is_some()
    };
    assert!(record.sessions.is_empty() && record.ended.len() == MAX_ENDED_SESSIONS);
    assert!(!remembered(&record, 3, NOW) && remembered(&record, 4, NOW));
    let later = NOW.plus(ENDED_SESSION_RETENTION);
    assert!(!remembered(&record, 19, later));
    record.forget_ended(later);
    assert!(record.ended.is_empty());
}

//! Where each kind of record lies.
//!
//! Keys are in the clear, so they hold only our own ids, times and keyed hashes; external
//! identities are in the values. The parts of a key are told apart by place: none of our ids
//! contains `/`.

use crate::{
    store::{CodeHash, record_cipher::RecordCipher},
    types::{AppId, OpenId, Phone, SessionId, Timestamp, UnionId, UserId, Username},
};

/// Up to where records have been sealed with the newest key.
pub(in crate::store) const REENCRYPTED_UP_TO: &[u8] = b"m/resealed";
/// Messages of a day.
pub(in crate::store) const SMS_BUDGET: &[u8] = b"m/sms_budget";
/// The next user id to give, where ids are integers.
pub(in crate::store) const NEXT_USER: &[u8] = b"m/next_user";
/// The number of the newest line of the revocation log. Kept apart, so that a swept log goes on
/// counting.
pub(in crate::store) const LOG_HEAD: &[u8] = b"m/log_head";

/// The number of the newest event for the backend.
pub(in crate::store) const OUTBOX_HEAD: &[u8] = b"m/outbox_head";

/// Events for the backend, in the order in which they are due.
pub(in crate::store) const OUTBOX: &[u8] = b"e/";
/// Lines of the revocation log, in order.
pub(in crate::store) const LOG: &[u8] = b"r/";
/// All signing keys.
pub(in crate::store) const SIGNING_KEYS: &[u8] = b"m/signing_keys";
/// What expires, in order of time.
pub(in crate::store) const EXPIRY: &[u8] = b"x/";
/// Sessions by id.
pub(in crate::store) const SESSIONS: &[u8] = b"s/";
/// Spent login codes, and what else counts once, by hash.
pub(in crate::store) const CODES: &[u8] = b"c/";
/// Which sessions are whose.
pub(in crate::store) const SESSIONS_OF: &[u8] = b"l/";
/// Users by id.
pub(in crate::store) const USERS: &[u8] = b"u/";
/// Users who are gone, by id.
pub(in crate::store) const TOMBSTONES: &[u8] = b"g/";
/// Codes and messages of phones, by keyed hash of the phone.
pub(in crate::store) const SMS: &[u8] = b"v/";

/// A user.
pub(in crate::store) fn user(id: &UserId) -> Vec<u8> {
    [USERS, id.as_str().as_bytes()].concat()
}

/// A user who is gone.
pub(in crate::store) fn tombstone(id: &UserId) -> Vec<u8> {
    [TOMBSTONES, id.as_str().as_bytes()].concat()
}

/// Where a guess at a code that is not there is written, so that it costs what a wrong guess costs:
/// one of 256 places, by the place where the phone's own record would be.
pub(in crate::store) fn decoy_key(sms: &[u8]) -> Option<Vec<u8>> {
    let first = sms.strip_prefix(SMS)?.first()?;
    Some(vec![b'w', b'/', *first])
}

/// The key of a record that is looked up by personal data: a keyed hash.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum LookupKey<'a> {
    /// The app id is part of it: an openid means something only within its app.
    OpenId(&'a AppId, &'a OpenId),
    UnionId(&'a UnionId),
    /// Whose phone it is.
    Phone(&'a Phone),
    Username(&'a Username),
    /// The codes and messages of a phone.
    Sms(&'a Phone),
}

impl LookupKey<'_> {
    /// The keys that the record may be under, that of the store's newest key first.
    pub(in crate::store) fn candidate_keys(self, cipher: &RecordCipher) -> Vec<Vec<u8>> {
        let keys = |prefix: &[u8], parts: &[&[u8]]| {
            let at = |hash: [u8; 32]| [prefix, hash.as_slice()].concat();
            cipher.lookup_hashes(parts).into_iter().map(at).collect()
        };
        match self {
            Self::OpenId(app, openid) => keys(
                b"o/",
                &[
                    b"openid",
                    app.as_str().as_bytes(),
                    openid.as_str().as_bytes(),
                ],
            ),
            Self::UnionId(unionid) => keys(b"n/", &[b"unionid", unionid.as_str().as_bytes()]),
            Self::Phone(phone) => keys(b"p/", &[b"phone", phone.as_str().as_bytes()]),
            Self::Username(name) => keys(b"a/", &[b"username", name.as_str().as_bytes()]),
            Self::Sms(phone) => keys(SMS, &[b"sms", phone.as_str().as_bytes()]),
        }
    }
}

/// A session.
pub(in crate::store) fn session(id: SessionId) -> Vec<u8> {
    [SESSIONS, &id.bits().to_be_bytes()].concat()
}

/// The sessions of a user that have not been ended; each is [`session_of`].
pub(in crate::store) fn sessions_of(user: &UserId) -> Vec<u8> {
    [SESSIONS_OF, user.as_str().as_bytes(), b"/"].concat()
}

/// Says that a session is of a user.
pub(in crate::store) fn session_of(user: &UserId, id: SessionId) -> Vec<u8> {
    [
        SESSIONS_OF,
        user.as_str().as_bytes(),
        b"/",
        &id.bits().to_be_bytes(),
    ]
    .concat()
}

/// The session id at the end of a [`session_of`].
pub(in crate::store) fn session_at(key: &[u8]) -> Option<SessionId> {
    key.last_chunk::<16>()
        .map(|bits| SessionId::from_bits(u128::from_be_bytes(*bits)))
}

/// A spent login code.
pub(in crate::store) fn code(code: &CodeHash) -> Vec<u8> {
    [CODES, &code.0].concat()
}

/// A line of the revocation log. Lines count from 1.
pub(in crate::store) fn log_line(number: u64) -> Vec<u8> {
    [LOG, &number.to_be_bytes()].concat()
}

/// The number at the end of a [`log_line`].
pub(in crate::store) fn number_at(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>()
        .map(|bytes| u64::from_be_bytes(*bytes))
}

/// An event for the backend, due at this time.
pub(in crate::store) fn outbox(due: Timestamp, number: u64) -> Vec<u8> {
    [
        OUTBOX,
        &due.as_millis().to_be_bytes(),
        &number.to_be_bytes(),
    ]
    .concat()
}

/// The time and the number of an [`outbox`].
pub(in crate::store) fn outbox_at(key: &[u8]) -> Option<(Timestamp, u64)> {
    let (due, number) = key.strip_prefix(OUTBOX)?.split_first_chunk::<8>()?;
    Some((
        Timestamp::from_millis(u64::from_be_bytes(*due)),
        u64::from_be_bytes(number.try_into().ok()?),
    ))
}

/// Says when what lies at `key` may be looked at for removal: at `at`, or up to a second later,
/// because seconds are whole.
pub(in crate::store) fn expiry(at: Timestamp, key: &[u8]) -> Vec<u8> {
    let secs = at.as_millis().div_ceil(1000);
    [EXPIRY, &secs.to_be_bytes(), b"/", key].concat()
}

/// The seconds and the key of an [`expiry`].
pub(in crate::store) fn expiring(entry: &[u8]) -> Option<(u64, &[u8])> {
    let (secs, rest) = entry.strip_prefix(EXPIRY)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*secs), rest.strip_prefix(b"/")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let id = SessionId::from_bits(0x0102);
        let user = UserId::parse("u-1").unwrap();
        assert_eq!(session_at(&session_of(&user, id)), Some(id));
        assert_eq!(number_at(&log_line(7)), Some(7));
        assert_eq!(
            expiring(&expiry(Timestamp::from_millis(1001), &session(id))),
            Some((2, session(id).as_slice()))
        );
        assert_eq!(expiring(b"x/short"), None);
        assert_eq!(
            outbox_at(&outbox(Timestamp::from_millis(7), 9)),
            Some((Timestamp::from_millis(7), 9))
        );
    }

    #[test]
    fn expiry_sorts_by_time_and_is_never_early() {
        let (early, late) = (
            expiry(Timestamp::from_secs(255), b"z"),
            expiry(Timestamp::from_secs(256), b"a"),
        );
        assert!(early < late);
        let (secs, _) = expiring(&expiry(Timestamp::from_millis(1), b"a")).unwrap();
        assert_eq!(secs, 1);
    }

    #[test]
    fn one_user_s_sessions_are_not_another_s() {
        let of = |text| sessions_of(&UserId::parse(text).unwrap());
        assert!(!of("12").starts_with(&of("1")));
    }
}

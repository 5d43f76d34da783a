//! Where each kind of record lies.
//!
//! Keys are in the clear, so they hold only our own ids, times and keyed hashes; external
//! identities are in the values. The parts of a key are told apart by place: none of our ids
//! contains `/`.

use std::time::Duration;

use crate::{
    store::{CodeHash, record_cipher::RecordCipher},
    types::{AppId, OpenId, Phone, Timestamp, UnionId, UserId, Username},
};

/// Up to where records have been sealed with the newest key.
pub(in crate::store) const REENCRYPTED_UP_TO: &[u8] = b"m/resealed";
/// Messages of a day.
pub(in crate::store) const SMS_BUDGET: &[u8] = b"m/sms_budget";
/// The next user id to give, where ids are integers.
pub(in crate::store) const NEXT_USER: &[u8] = b"m/next_user";
/// Counts imports that raise the next user id: what processes have taken before is void.
pub(in crate::store) const ID_GENERATION: &[u8] = b"m/id_generation";
/// Events for the backend, in the order in which they are due.
pub(in crate::store) const OUTBOX: &[u8] = b"e/";
/// Lines of the revocation log, in order of time.
pub(in crate::store) const LOG: &[u8] = b"r/";
/// All signing keys.
pub(in crate::store) const SIGNING_KEYS: &[u8] = b"m/signing_keys";
/// Which process does the upkeep.
pub(in crate::store) const UPKEEP_LEASE: &[u8] = b"m/upkeep_lease";
/// Heartbeats of processes, by their ids.
pub(in crate::store) const HEARTBEATS: &[u8] = b"h/";
/// Users by id, and ids that were users'.
pub(in crate::store) const USERS: &[u8] = b"u/";
/// Codes and messages of phones, by day and keyed hash of the phone.
pub(in crate::store) const SMS: &[u8] = b"v/";

/// A user.
pub(in crate::store) fn user(id: &UserId) -> Vec<u8> {
    [USERS, id.as_str().as_bytes()].concat()
}

/// The heartbeat of a process.
pub(in crate::store) fn heartbeat(replica: u128) -> Vec<u8> {
    [HEARTBEATS, &replica.to_be_bytes()].concat()
}

/// The process of the heartbeat at this key.
pub(in crate::store) fn heartbeat_id(key: &[u8]) -> Option<u128> {
    let id = key.strip_prefix(HEARTBEATS)?.try_into().ok()?;
    Some(u128::from_be_bytes(id))
}

/// The day in which codes and messages of a phone are written: what says something of the last
/// day is in the present one, the one before, or, by a clock that is ahead, the next one.
pub(in crate::store) fn sms_day(now: Timestamp) -> u64 {
    now.as_secs() / SMS_PERIOD.as_secs()
}

/// The day of an SMS record at this key.
pub(in crate::store) fn sms_day_at(key: &[u8]) -> Option<u64> {
    let day = key.strip_prefix(SMS)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*day))
}

/// Where a guess at a code that is not there is written, so that it costs what a wrong guess costs:
/// one of 256 places, by the place where the phone's own record would be.
pub(in crate::store) fn decoy_key(sms: &[u8]) -> Option<Vec<u8>> {
    let first = sms.strip_prefix(SMS)?.get(8)?;
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
    /// The codes and messages of a phone, in the period of a day: see [`sms_day`].
    Sms(&'a Phone, u64),
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
            Self::Sms(phone, day) => {
                let prefix = [SMS, &day.to_be_bytes()].concat();
                keys(&prefix, &[b"sms", phone.as_str().as_bytes()])
            }
        }
    }
}

/// What is used once, and is remembered for so long after that. It lies in periods of that length,
/// so that it is found in the present one or those beside it, and whole periods expire without an
/// index.
pub(in crate::store) struct SingleUse {
    prefix: &'static [u8],
    pub(in crate::store) remembered: Duration,
}

/// Codes of `wx.login`.
pub(in crate::store) const LOGIN_CODES: SingleUse = SingleUse {
    prefix: b"c/",
    remembered: Duration::from_mins(10),
};
/// Notices of WeChat.
pub(in crate::store) const NOTICES: SingleUse = SingleUse {
    prefix: b"q/",
    remembered: Duration::from_hours(2),
};

/// Calls that are over although an attempt of theirs may still be on its way, which is refused where
/// its call is among them.
pub(in crate::store) const ENDED_CALLS: SingleUse = SingleUse {
    prefix: b"x/",
    remembered: Duration::from_mins(10),
};

/// Where it is written that the call with this number is over. `now` is the engine's clock.
pub(in crate::store) fn ended_call(call: u64, now: Timestamp) -> Vec<u8> {
    let period = ENDED_CALLS.period(now).to_be_bytes();
    [ENDED_CALLS.prefix, &period, &call.to_be_bytes()].concat()
}

impl SingleUse {
    /// All of a kind, in order of time.
    pub(in crate::store) const fn prefix(&self) -> &'static [u8] {
        self.prefix
    }

    fn period(&self, at: Timestamp) -> u64 {
        at.as_secs() / self.remembered.as_secs()
    }

    fn key(&self, period: u64, hash: &CodeHash) -> Vec<u8> {
        [self.prefix, &period.to_be_bytes(), &hash.0].concat()
    }

    /// Where one is written now.
    pub(in crate::store) fn present_key(&self, hash: &CodeHash, now: Timestamp) -> Vec<u8> {
        self.key(self.period(now), hash)
    }

    /// Where one may be that still counts: written now, in the period before, or by a clock that is
    /// ahead.
    pub(in crate::store) fn keys(&self, hash: &CodeHash, now: Timestamp) -> [Vec<u8>; 3] {
        let period = self.period(now);
        [period, period.saturating_sub(1), period.saturating_add(1)]
            .map(|period| self.key(period, hash))
    }

    /// Whether nothing at this key counts any more, by any clock.
    pub(in crate::store) fn is_over(&self, key: &[u8], now: Timestamp) -> bool {
        let rest = key.strip_prefix(self.prefix);
        let period = rest.and_then(<[u8]>::first_chunk::<8>);
        period
            .is_none_or(|period| u64::from_be_bytes(*period).saturating_add(2) <= self.period(now))
    }
}

/// How long a period of codes and messages is.
const SMS_PERIOD: Duration = Duration::from_hours(24);

/// Where lines of the revocation log of this time begin.
pub(in crate::store) fn log_lines_at(at: Timestamp) -> Vec<u8> {
    [LOG, &at.as_millis().to_be_bytes()].concat()
}

/// A line of the revocation log.
pub(in crate::store) fn log_line(id: LogLineId) -> Vec<u8> {
    [LOG, &id.0].concat()
}

/// What a line of the revocation log is known by: its time, and random bytes. So no two commits
/// share a place, and none shares a record with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct LogLineId(pub(in crate::store) [u8; 16]);

impl LogLineId {
    pub(in crate::store) fn new(at: Timestamp, random: [u8; 8]) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&at.as_millis().to_be_bytes());
        id[8..].copy_from_slice(&random);
        Self(id)
    }

    /// Of the line at this key.
    pub(in crate::store) fn from_key(key: &[u8]) -> Option<Self> {
        key.strip_prefix(LOG)?.try_into().ok().map(Self)
    }

    pub(in crate::store) fn at(self) -> Timestamp {
        let [ms @ .., _, _, _, _, _, _, _, _] = self.0;
        Timestamp::from_millis(u64::from_be_bytes(ms))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let line = LogLineId::new(Timestamp::from_millis(7), [9; 8]);
        assert_eq!(LogLineId::from_key(&log_line(line)), Some(line));
        assert_eq!(line.at(), Timestamp::from_millis(7));
        assert!(log_line(line).starts_with(&log_lines_at(line.at())));
        assert_eq!(LogLineId::from_key(b"r/short"), None);
        assert_eq!(heartbeat_id(&heartbeat(7)), Some(7));
        assert_eq!(heartbeat_id(b"h/short"), None);
        assert_eq!(
            outbox_at(&outbox(Timestamp::from_millis(7), 9)),
            Some((Timestamp::from_millis(7), 9))
        );
    }

    #[test]
    fn an_ended_call_is_kept_for_ten_minutes_at_least() {
        for second in [0, 599] {
            let at = Timestamp::from_secs(1_800_000_000 + second);
            let key = ended_call(7, at);
            assert!(key.starts_with(b"x/") && key != ended_call(8, at));
            let is_over = |secs| ENDED_CALLS.is_over(&key, at.plus(Duration::from_secs(secs)));
            assert!(!is_over(0) && !is_over(600) && is_over(1200), "{second}");
        }
    }

    #[test]
    fn what_counts_once_is_found_for_as_long_as_it_counts() {
        for kind in [LOGIN_CODES, NOTICES] {
            let hash = CodeHash([7; 32]);
            let length = kind.remembered.as_secs();
            for second in [0, 1, length - 1] {
                let at = Timestamp::from_secs(1_800_000_000 + second);
                let key = kind.present_key(&hash, at);
                for later in [0, length / 2, length] {
                    let now = at.plus(Duration::from_secs(later));
                    assert!(kind.keys(&hash, now).contains(&key), "{second} {later}");
                    assert!(!kind.is_over(&key, now), "{second} {later}");
                }
                let behind = at.minus(Duration::from_secs(2));
                assert!(kind.keys(&hash, behind).contains(&key), "a clock behind");
                let over = at.plus(Duration::from_secs(2 * length));
                assert!(kind.is_over(&key, over));
            }
        }
    }
}

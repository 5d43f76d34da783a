//! Out of a store in words of the domain, and into one.

use super::{
    layout::{self, LookupKey},
    outbox::{self, OutboxRecord},
    records::{
        self, OpenIdRecord, PhoneRecord, SessionRecord, Tombstone, UnionIdRecord, UserRecord,
        UsernameRecord,
    },
    revoke, signing_keys, sweep,
    transaction::{ReadView, Transaction},
};
use crate::{
    crypto::Key,
    store::{
        ExportRecord, ExportedOpenId, ExportedSession, ExportedUser, RevocationEntry, StoredKey,
        error::EngineError,
    },
    types::{Secret, UserId},
};

/// From a pair to what it says.
type ReadPair<'a> = &'a dyn Fn(&[u8], &[u8]) -> Result<ExportRecord, EngineError>;

/// Pairs that are read at once.
const PAGE_SIZE: usize = 200;
/// Far above any number of sessions: it is counted anew when it comes to the limit.
const UNKNOWN_SESSION_COUNT: usize = 1 << 30;

/// Hands on everything, in the order in which it is restored.
pub(in crate::store) fn export(
    view: &dyn ReadView,
    mut emit: impl FnMut(Vec<ExportRecord>) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let global_epoch = records::global_epoch(view);
    let next_user = view.record(layout::NEXT_USER)?;
    emit(vec![
        ExportRecord::Counters {
            global_epoch,
            next_user,
        },
        ExportRecord::Root(*view.cipher().keyring().root().expose()),
    ])?;
    let mut keys = signing_keys::all(view)?;
    keys.reverse();
    emit(keys.into_iter().map(exported_key).collect())?;
    let cipher = view.cipher();
    let mut each = |prefix: &[u8], read: ReadPair<'_>| {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let pairs = view.scan(prefix, after.as_deref(), PAGE_SIZE)?;
            let records = pairs
                .iter()
                .map(|(key, bytes)| read(key, bytes))
                .collect::<Result<_, _>>()?;
            emit(records)?;
            match pairs.last() {
                Some((last, _)) if pairs.len() >= PAGE_SIZE => after = Some(last.clone()),
                Some(_) | None => return Ok(()),
            }
        }
    };
    each(layout::USERS, &|key, bytes| {
        user(view, cipher.read(key, bytes)?)
    })?;
    each(layout::TOMBSTONES, &|key, bytes| {
        let Tombstone { at, merged_into } = cipher.read(key, bytes)?;
        let text = key
            .strip_prefix(layout::TOMBSTONES)
            .and_then(|id| str::from_utf8(id).ok())
            .unwrap_or_default();
        let id =
            UserId::parse(text).map_err(|_| EngineError::damaged(key, "is at no user's place"))?;
        Ok(ExportRecord::Tombstone {
            id,
            at,
            merged_into,
        })
    })?;
    each(layout::SESSIONS, &|key, bytes| {
        let record: SessionRecord = cipher.read(key, bytes)?;
        let SessionRecord {
            session,
            openid,
            global_epoch,
            ended_at,
            ..
        } = record;
        Ok(ExportRecord::Session(Box::new(ExportedSession {
            session,
            openid,
            global_epoch,
            ended_at,
        })))
    })?;
    each(layout::LOG, &|key, bytes| {
        Ok(ExportRecord::Revocation(
            cipher.read::<RevocationEntry>(key, bytes)?,
        ))
    })?;
    each(layout::OUTBOX, &|key, bytes| {
        let OutboxRecord { event, at, .. } = cipher.read(key, bytes)?;
        Ok(ExportRecord::Event { event, at })
    })
}

fn exported_key(key: StoredKey) -> ExportRecord {
    let StoredKey {
        kid,
        algorithm,
        private,
        created_at,
        signs_from,
    } = key;
    let (private, signs_from) = (private.expose().clone(), Some(signs_from));
    ExportRecord::SigningKey {
        kid,
        algorithm,
        private,
        created_at,
        signs_from,
    }
}

fn user(view: &dyn ReadView, record: UserRecord) -> Result<ExportRecord, EngineError> {
    let UserRecord {
        user,
        openids,
        unionids,
        sessions: _,
    } = record;
    let openid = |(app_id, openid)| {
        let known: Option<OpenIdRecord> = view.find(LookupKey::OpenId(&app_id, &openid))?;
        let session_key = known.and_then(|known| known.session_key);
        Ok(ExportedOpenId {
            app_id,
            openid,
            session_key,
        })
    };
    let openids = openids
        .into_iter()
        .map(openid)
        .collect::<Result<_, EngineError>>()?;
    let password = match &user.username {
        Some(name) => view
            .find::<UsernameRecord>(LookupKey::Username(name))?
            .map(|record| record.password),
        None => None,
    };
    Ok(ExportRecord::User(Box::new(ExportedUser {
        user,
        openids,
        unionids: unionids.into_iter().collect(),
        password,
    })))
}

/// Writes these as they are.
pub(in crate::store) fn restore(
    tx: &mut Transaction<'_>,
    records: &[ExportRecord],
) -> Result<(), EngineError> {
    for thing in records.iter().cloned() {
        match thing {
            ExportRecord::Counters {
                global_epoch,
                next_user,
            } => {
                tx.put_keyring(tx.cipher().keyring().with_global_epoch(global_epoch))?;
                if let Some(next_user) = next_user {
                    tx.put(layout::NEXT_USER.to_vec(), &next_user)?;
                }
            }
            ExportRecord::Root(root) => {
                tx.put_keyring(tx.cipher().keyring().with_root(Key::new(root)))?;
            }
            ExportRecord::SigningKey {
                kid,
                algorithm,
                private,
                created_at,
                signs_from,
            } => {
                let (private, signs_from) =
                    (Secret::new(private), signs_from.unwrap_or(created_at));
                let key = StoredKey {
                    kid,
                    algorithm,
                    private,
                    created_at,
                    signs_from,
                };
                signing_keys::put_newest(tx, &key)?;
            }
            ExportRecord::User(user) => restore_user(tx, *user)?,
            ExportRecord::Tombstone {
                id,
                at,
                merged_into,
            } => tx.put(layout::tombstone(&id), &Tombstone { at, merged_into })?,
            ExportRecord::Session(session) => restore_session(tx, *session)?,
            ExportRecord::Revocation(entry) => drop(revoke::append_to_log(tx, entry)?),
            ExportRecord::Event { event, at } => outbox::put(tx, event, at)?,
        }
    }
    Ok(())
}

fn restore_user(tx: &mut Transaction<'_>, user: ExportedUser) -> Result<(), EngineError> {
    let ExportedUser {
        user,
        openids,
        unionids,
        password,
    } = user;
    let id = user.id.clone();
    let mut record = UserRecord {
        user,
        openids: [].into(),
        unionids: unionids.iter().cloned().collect(),
        sessions: UNKNOWN_SESSION_COUNT,
    };
    for ExportedOpenId {
        app_id,
        openid,
        session_key,
    } in openids
    {
        record.openids.insert((app_id.clone(), openid.clone()));
        let known = OpenIdRecord {
            user: id.clone(),
            app_id,
            openid,
            session_key,
            previous_session_key: None,
        };
        tx.put_under(LookupKey::OpenId(&known.app_id, &known.openid), &known)?;
    }
    for unionid in unionids {
        tx.put_under(
            LookupKey::UnionId(&unionid),
            &UnionIdRecord {
                user: id.clone(),
                unionid: unionid.clone(),
            },
        )?;
    }
    if let Some(phone) = &record.user.phone {
        tx.put_under(
            LookupKey::Phone(phone),
            &PhoneRecord {
                user: id.clone(),
                phone: phone.clone(),
            },
        )?;
    }
    if let (Some(name), Some(password)) = (&record.user.username, password) {
        let known = UsernameRecord {
            user: id,
            username: name.clone(),
            password,
        };
        tx.put_under(LookupKey::Username(name), &known)?;
    }
    records::put_user(tx, &record)
}

fn restore_session(tx: &mut Transaction<'_>, session: ExportedSession) -> Result<(), EngineError> {
    let ExportedSession {
        session,
        openid,
        global_epoch,
        ended_at,
    } = session;
    let (id, user) = (session.id, session.user.clone());
    let record = SessionRecord {
        session,
        openid,
        global_epoch,
        ended_at,
        is_new_user: false,
        evicted: Vec::new(),
        merged: None,
    };
    records::put_session(tx, &record)?;
    if ended_at.is_none() {
        tx.touch(layout::session_of(&user, id));
    }
    tx.touch(layout::expiry(
        sweep::removable_at(&record),
        &layout::session(id),
    ));
    Ok(())
}

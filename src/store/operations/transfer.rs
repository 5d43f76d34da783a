//! Out of a store in words of the domain, and into one.

use super::{
    ended_session::EndedSession,
    layout::{self, LookupKey},
    outbox::{self, OutboxRecord},
    records::{self, OpenIdRecord, PhoneRecord, UnionIdRecord, UsernameRecord},
    revocation_log, signing_keys,
    transaction::{ReadView, Transaction},
    user_record::{self, SessionRecord, Tombstone, UserRecord, WechatLink},
};
use crate::{
    crypto::Key,
    store::{
        ExportRecord, ExportedOpenId, ExportedSession, ExportedUser, StoredKey, UnknownFields,
        error::EngineError,
    },
    types::{Secret, UserId},
};

/// From a pair to what it says.
type ReadPair<'a> = &'a dyn Fn(&[u8], &[u8]) -> Result<Vec<ExportRecord>, EngineError>;

/// Pairs that are read at once.
const PAGE_SIZE: usize = 200;

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
            let mut records = Vec::with_capacity(pairs.len());
            for (key, bytes) in &pairs {
                records.extend(read(key, bytes)?);
            }
            emit(records)?;
            match pairs.last() {
                Some((last, _)) if pairs.len() >= PAGE_SIZE => after = Some(last.clone()),
                Some(_) | None => return Ok(()),
            }
        }
    };
    each(layout::USERS, &|key, bytes| user(view, key, bytes))?;
    each(layout::LOG, &|key, bytes| {
        let entries = revocation_log::read_line(view, key, bytes)?.into_iter();
        Ok(entries.map(ExportRecord::Revocation).collect())
    })?;
    each(layout::OUTBOX, &|key, bytes| {
        let OutboxRecord { event, at, .. } = cipher.read(key, bytes)?;
        Ok(vec![ExportRecord::Event { event, at }])
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

/// A user with the sessions, or the id of one who is gone.
fn user(view: &dyn ReadView, key: &[u8], bytes: &[u8]) -> Result<Vec<ExportRecord>, EngineError> {
    let record = match user_record::read_user(view.cipher(), key, bytes)? {
        Ok(record) => record,
        Err(Tombstone { at, merged_into }) => {
            let text = key
                .strip_prefix(layout::USERS)
                .and_then(|id| str::from_utf8(id).ok())
                .unwrap_or_default();
            let id = UserId::parse(text)
                .map_err(|_| EngineError::damaged(key, "is at no user's place"))?;
            return Ok(vec![ExportRecord::Tombstone {
                id,
                at,
                merged_into,
            }]);
        }
    };
    let UserRecord {
        user,
        openids,
        unionids,
        sessions,
        ended,
        ..
    } = record;
    let id = user.id.clone();
    let openid = |link: WechatLink| ExportedOpenId {
        app_id: link.app_id,
        openid: link.openid,
        session_key: link.session_key,
    };
    let password = match &user.username {
        Some(name) => view
            .find::<UsernameRecord>(LookupKey::Username(name))?
            .map(|record| record.password),
        None => None,
    };
    let mut records = vec![ExportRecord::User(Box::new(ExportedUser {
        user,
        openids: openids.into_iter().map(openid).collect(),
        unionids: unionids.into_iter().collect(),
        password,
    }))];
    records.extend(sessions.into_iter().map(|known| {
        let SessionRecord {
            session,
            openid,
            global_epoch,
            ..
        } = known;
        ExportRecord::Session(Box::new(ExportedSession {
            session,
            openid,
            global_epoch,
            ended_at: None,
        }))
    }));
    records.extend(ended.into_iter().map(|ended| ExportRecord::EndedSession {
        user: id.clone(),
        id: ended.id(),
        salt: ended.salt(),
        until: ended.until,
    }));
    Ok(records)
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
            } => user_record::put_tombstone(tx, &id, Tombstone { at, merged_into })?,
            ExportRecord::Session(session) => restore_session(tx, *session)?,
            ExportRecord::EndedSession {
                user,
                id,
                salt,
                until,
            } => {
                if let Some(mut user) = user_record::user(tx, &user)? {
                    user.ended.push(EndedSession::new(id, salt, until));
                    user_record::put_user(tx, &user)?;
                }
            }
            ExportRecord::Revocation(entry) => drop(revocation_log::append(tx, entry)?),
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
    let mut record = UserRecord::new(user);
    record.unionids = unionids.iter().cloned().collect();
    for ExportedOpenId {
        app_id,
        openid,
        session_key,
    } in openids
    {
        let pointer = OpenIdRecord::new(&id, &app_id, &openid);
        tx.put_under(LookupKey::OpenId(&app_id, &openid), &pointer)?;
        record.add_openid(&app_id, &openid);
        if let Some(link) = record.link_mut(&app_id, &openid) {
            link.session_key = session_key;
        }
    }
    for unionid in unionids {
        let pointer = UnionIdRecord::new(&id, &unionid);
        tx.put_under(LookupKey::UnionId(&unionid), &pointer)?;
    }
    if let Some(phone) = &record.user.phone {
        tx.put_under(LookupKey::Phone(phone), &PhoneRecord::new(&id, phone))?;
    }
    if let (Some(name), Some(password)) = (&record.user.username, password) {
        let pointer = UsernameRecord::new(&id, name, password);
        tx.put_under(LookupKey::Username(name), &pointer)?;
    }
    user_record::put_user(tx, &record)
}

fn restore_session(tx: &mut Transaction<'_>, session: ExportedSession) -> Result<(), EngineError> {
    let ExportedSession {
        session,
        openid,
        global_epoch,
        ended_at,
    } = session;
    // It comes after its user.
    let Some(mut user) = user_record::user(tx, &session.user)? else {
        return Ok(());
    };
    if let Some(ended_at) = ended_at {
        user.remember_ended(session.id, session.salt, ended_at);
    } else {
        user.sessions.push(SessionRecord {
            session,
            openid,
            global_epoch,
            is_new_user: false,
            evicted: Vec::new(),
            merged: None,
            unknown: UnknownFields::default(),
        });
    }
    user_record::put_user(tx, &user)
}

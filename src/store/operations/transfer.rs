//! Out of a store in words of the domain, and into one.

use super::{
    ended_session::EndedSession,
    layout::{self, LogLineId, LookupKey},
    outbox,
    records::{self, KeyRecord, OpenIdRecord, PhoneRecord, UnionIdRecord, UsernameRecord},
    revocation_log, signing_keys,
    transaction::{ReadView, Transaction},
    user_record::{self, SessionRecord, Tombstone, UserRecord, WechatLink},
};
use crate::{
    crypto::Key,
    store::{
        ExportRecord, ExportedIdentity, ExportedOpenId, ExportedSession, ExportedUser, StoredKey,
        UnknownFields, Unreadable, error::EngineError, record_cipher::RecordCipher,
    },
    types::{Secret, UserId},
};

/// From a pair to what it says.
type ReadPair<'a> = &'a dyn Fn(&[u8], &[u8]) -> Result<Vec<ExportRecord>, EngineError>;

/// Where identities lead to their users from.
const IDENTITIES: [&[u8]; 4] = [b"o/", b"n/", b"p/", b"a/"];

/// Pairs that are read at once.
const PAGE_SIZE: usize = 200;

/// Hands on everything, in the order in which it is restored.
pub(in crate::store) fn export(
    view: &dyn ReadView,
    unreadable: Unreadable,
    mut emit: impl FnMut(Vec<ExportRecord>) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let global_epoch = records::global_epoch(view);
    let next_user = view.record(layout::NEXT_USER)?;
    emit(vec![
        ExportRecord::Counters {
            global_epoch,
            next_user,
            unknown: view.cipher().keyring().unknown().clone(),
        },
        ExportRecord::Root(*view.cipher().keyring().root().expose()),
    ])?;
    let mut keys = unreadable.read(signing_keys::records(view))?;
    keys.reverse();
    emit(keys.into_iter().map(exported_key).collect())?;
    let cipher = view.cipher();
    let mut each = |prefix: &[u8], read: ReadPair<'_>| {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let pairs = view.scan(prefix, after.as_deref(), PAGE_SIZE)?;
            let mut records = Vec::with_capacity(pairs.len());
            for (key, bytes) in &pairs {
                records.extend(unreadable.read(read(key, bytes))?);
            }
            emit(records)?;
            match pairs.last() {
                Some((last, _)) if pairs.len() >= PAGE_SIZE => after = Some(last.clone()),
                Some(_) | None => return Ok(()),
            }
        }
    };
    each(layout::USERS, &|key, bytes| {
        user(view, unreadable, key, bytes)
    })?;
    for prefix in IDENTITIES {
        each(prefix, &|key, bytes| identity_fields(cipher, key, bytes))?;
    }
    each(layout::LOG, &|key, bytes| revocations(view, key, bytes))?;
    each(layout::OUTBOX, &|key, bytes| event(cipher, key, bytes))
}

/// An event for the backend. One that cannot be read would be removed when it is due, so it stops no
/// export either.
fn event(
    cipher: &RecordCipher,
    key: &[u8],
    bytes: &[u8],
) -> Result<Vec<ExportRecord>, EngineError> {
    let event = match outbox::read(cipher, key, bytes) {
        Ok(Ok(record)) => ExportRecord::Event {
            event: record.event,
            at: record.at,
            unknown: record.unknown,
        },
        Ok(Err(record)) => ExportRecord::NewerEvent {
            due: layout::outbox_at(key).unwrap_or_default().0,
            record,
        },
        Err(EngineError::Damaged(why)) => {
            tracing::error!(error = %why, "an event for the backend could not be read and is not exported: {why}");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    Ok(vec![event])
}

/// The entries of a line of the revocation log. One that cannot be read stops no export: what it may
/// reject is doubted in the store that imports it too.
fn revocations(
    view: &dyn ReadView,
    key: &[u8],
    bytes: &[u8],
) -> Result<Vec<ExportRecord>, EngineError> {
    match revocation_log::read_line(view, key, bytes) {
        Ok(entries) => Ok(entries.into_iter().map(ExportRecord::Revocation).collect()),
        Err(EngineError::Damaged(why)) => {
            tracing::warn!(
                error = %why,
                "a line of the revocation log cannot be read and is exported as unreadable: where it is imported, access tokens of \
                 before it are refreshed once; nothing has to be done"
            );
            let at = LogLineId::from_key(key)
                .map(LogLineId::at)
                .unwrap_or_default();
            Ok(vec![ExportRecord::UnreadableRevocation { at }])
        }
        Err(error) => Err(error),
    }
}

fn exported_key(record: KeyRecord) -> ExportRecord {
    let unknown = record.unknown().clone();
    let StoredKey {
        kid,
        algorithm,
        private,
        created_at,
        signs_from,
    } = record.into_key();
    let (private, signs_from) = (private.expose().clone(), Some(signs_from));
    ExportRecord::SigningKey {
        kid,
        algorithm,
        private,
        created_at,
        signs_from,
        unknown,
    }
}

/// What a newer version added to the record that an identity is found by.
fn identity_fields(
    cipher: &RecordCipher,
    key: &[u8],
    bytes: &[u8],
) -> Result<Vec<ExportRecord>, EngineError> {
    let plain = cipher.open(key, bytes)?;
    let (identity, unknown) = match key.get(..2) {
        Some(b"o/") => {
            let record: OpenIdRecord = RecordCipher::decode(key, &plain)?;
            let identity = ExportedIdentity::OpenId(record.app_id, record.openid);
            (identity, record.unknown)
        }
        Some(b"n/") => {
            let record: UnionIdRecord = RecordCipher::decode(key, &plain)?;
            (ExportedIdentity::UnionId(record.unionid), record.unknown)
        }
        Some(b"p/") => {
            let record: PhoneRecord = RecordCipher::decode(key, &plain)?;
            (ExportedIdentity::Phone(record.phone), record.unknown)
        }
        _ => {
            let record: UsernameRecord = RecordCipher::decode(key, &plain)?;
            (ExportedIdentity::Username(record.username), record.unknown)
        }
    };
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![ExportRecord::IdentityFields { identity, unknown }])
}

/// A user with the sessions, or the id of one who is gone.
fn user(
    view: &dyn ReadView,
    unreadable: Unreadable,
    key: &[u8],
    bytes: &[u8],
) -> Result<Vec<ExportRecord>, EngineError> {
    let record = match user_record::read_user(view.cipher(), key, bytes)? {
        Ok(record) => record,
        Err(Tombstone {
            at,
            merged_into,
            unknown,
        }) => {
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
                unknown,
            }]);
        }
    };
    let UserRecord {
        user,
        openids,
        unionids,
        sessions,
        ended,
        unknown,
    } = record;
    let id = user.id.clone();
    let openid = |link: WechatLink| ExportedOpenId {
        app_id: link.app_id,
        openid: link.openid,
        session_key: link.session_key,
        previous_session_key: link.previous_session_key,
        unknown: link.unknown,
    };
    let password = match &user.username {
        Some(name) => unreadable
            .read(view.find::<UsernameRecord>(LookupKey::Username(name)))?
            .map(|record| record.password),
        None => None,
    };
    let mut records = vec![ExportRecord::User(Box::new(ExportedUser {
        user,
        openids: openids.into_iter().map(openid).collect(),
        unionids: unionids.into_iter().collect(),
        password,
        unknown,
    }))];
    records.extend(sessions.into_iter().map(|known| {
        let SessionRecord {
            session,
            openid,
            global_epoch,
            is_new_user,
            evicted,
            merged,
            unknown,
        } = known;
        ExportRecord::Session(Box::new(ExportedSession {
            session,
            openid,
            global_epoch,
            ended_at: None,
            is_new_user,
            evicted,
            merged,
            unknown,
        }))
    }));
    records.extend(ended.into_iter().map(|ended| ExportRecord::EndedSession {
        user: id.clone(),
        id: ended.id(),
        salt: ended.salt(),
        until: ended.until,
        unknown: ended.unknown,
    }));
    Ok(records)
}

/// Cuts records into pieces of which each changes at most `limit` records of the store, or is a single
/// one.
pub(in crate::store) fn batches(
    records: Vec<ExportRecord>,
    limit: usize,
) -> Vec<Vec<ExportRecord>> {
    let mut batches = Vec::new();
    let (mut batch, mut changed) = (Vec::new(), 0);
    for record in records {
        let count = change_count(&record);
        if !batch.is_empty() && changed + count > limit {
            batches.push(std::mem::take(&mut batch));
            changed = 0;
        }
        changed += count;
        batch.push(record);
    }
    batches.push(batch);
    batches
}

/// How many records of the store one of an export changes at most.
fn change_count(record: &ExportRecord) -> usize {
    match record {
        ExportRecord::User(user) => {
            let phone = usize::from(user.user.phone.is_some());
            let username = usize::from(user.user.username.is_some());
            1 + user.openids.len() + user.unionids.len() + phone + username
        }
        ExportRecord::Counters { .. } => 2,
        _ => 1,
    }
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
                unknown,
            } => {
                let keyring = tx.cipher().keyring().with_global_epoch(global_epoch);
                tx.put_keyring(keyring.with_unknown(unknown))?;
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
                unknown,
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
                signing_keys::put_newest(tx, KeyRecord::from_key(&key, unknown))?;
            }
            ExportRecord::User(user) => restore_user(tx, *user)?,
            ExportRecord::Tombstone {
                id,
                at,
                merged_into,
                unknown,
            } => {
                let tombstone = Tombstone {
                    at,
                    merged_into,
                    unknown,
                };
                user_record::put_tombstone(tx, &id, tombstone)?;
            }
            ExportRecord::Session(session) => restore_session(tx, *session)?,
            ExportRecord::EndedSession {
                user,
                id,
                salt,
                until,
                unknown,
            } => {
                if let Some(mut user) = user_record::user(tx, &user)? {
                    let mut ended = EndedSession::new(id, salt, until);
                    ended.unknown = unknown;
                    user.ended.push(ended);
                    user_record::put_user(tx, &user)?;
                }
            }
            ExportRecord::IdentityFields { identity, unknown } => {
                restore_identity_fields(tx, &identity, unknown)?;
            }
            ExportRecord::Revocation(entry) => drop(revocation_log::append(tx, entry)?),
            ExportRecord::UnreadableRevocation { at } => {
                revocation_log::put_unreadable(tx, at, Vec::new())?;
            }
            ExportRecord::Event { event, at, unknown } => {
                outbox::restore(tx, event, at, unknown)?;
            }
            ExportRecord::NewerEvent { due, record } => outbox::restore_newer(tx, due, &record)?,
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
        unknown,
    } = user;
    let id = user.id.clone();
    let mut record = UserRecord::new(user);
    record.unknown = unknown;
    record.unionids = unionids.iter().cloned().collect();
    for ExportedOpenId {
        app_id,
        openid,
        session_key,
        previous_session_key,
        unknown,
    } in openids
    {
        let pointer = OpenIdRecord::new(&id, &app_id, &openid);
        tx.put_under(LookupKey::OpenId(&app_id, &openid), &pointer)?;
        record.add_openid(&app_id, &openid);
        if let Some(link) = record.link_mut(&app_id, &openid) {
            link.session_key = session_key;
            link.previous_session_key = previous_session_key;
            link.unknown = unknown;
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

fn restore_identity_fields(
    tx: &mut Transaction<'_>,
    identity: &ExportedIdentity,
    unknown: UnknownFields,
) -> Result<(), EngineError> {
    // It comes after its user, with whom the record was made.
    match identity {
        ExportedIdentity::OpenId(app_id, openid) => {
            let key = LookupKey::OpenId(app_id, openid);
            if let Some(record) = tx.find::<OpenIdRecord>(key)? {
                tx.put_under(key, &OpenIdRecord { unknown, ..record })?;
            }
        }
        ExportedIdentity::UnionId(unionid) => {
            let key = LookupKey::UnionId(unionid);
            if let Some(record) = tx.find::<UnionIdRecord>(key)? {
                tx.put_under(key, &UnionIdRecord { unknown, ..record })?;
            }
        }
        ExportedIdentity::Phone(phone) => {
            let key = LookupKey::Phone(phone);
            if let Some(record) = tx.find::<PhoneRecord>(key)? {
                tx.put_under(key, &PhoneRecord { unknown, ..record })?;
            }
        }
        ExportedIdentity::Username(name) => {
            let key = LookupKey::Username(name);
            if let Some(record) = tx.find::<UsernameRecord>(key)? {
                tx.put_under(key, &UsernameRecord { unknown, ..record })?;
            }
        }
    }
    Ok(())
}

fn restore_session(tx: &mut Transaction<'_>, session: ExportedSession) -> Result<(), EngineError> {
    let ExportedSession {
        session,
        openid,
        global_epoch,
        ended_at,
        is_new_user,
        evicted,
        merged,
        unknown,
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
            is_new_user,
            evicted,
            merged,
            unknown,
        });
    }
    user_record::put_user(tx, &user)
}

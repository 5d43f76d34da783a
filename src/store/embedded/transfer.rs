//! Out of an embedded store in words of the domain, and into one.

use super::{
    draft::{Draft, View},
    layout::{self, Handle},
    outbox::{self, OutboxRecord},
    records::{
        self, GoneRecord, KeyRecord, OpenIdRecord, PhoneRecord, SessionRecord, UnionIdRecord,
        UserRecord, UsernameRecord,
    },
    reseal, revoke,
    snapshot::Snapshot,
    sweep,
};
use crate::{
    crypto::Key,
    store::{
        Portable, PortableOpenId, PortableSession, PortableUser, RevocationEntry, StoreKeys,
        StoredKey, failure::Failure, vault::Keyring,
    },
    types::{Secret, UserId},
};

/// From a pair to what it says.
type ReadPair<'a> = &'a dyn Fn(&[u8], &[u8]) -> Result<Portable, Failure>;

/// Pairs that are read at once.
const PAGE: usize = 200;
/// Far above any number of sessions: it is counted anew when it comes to the limit.
const UNCOUNTED: usize = 1 << 30;

/// Hands on everything, in the order in which it is restored.
pub(super) fn export(
    from: &Snapshot,
    mut hand_on: impl FnMut(Vec<Portable>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let view: &dyn View = from;
    let global_epoch = records::global_epoch(view)?;
    let next_user = view.record(layout::NEXT_USER)?;
    hand_on(vec![
        Portable::Counters {
            global_epoch,
            next_user,
        },
        Portable::Root(*from.vault().keyring().root().expose()),
    ])?;
    let vault = from.vault();
    let mut each = |prefix: &[u8], read: ReadPair<'_>| {
        from.each_page(prefix, PAGE, |pairs| {
            hand_on(
                pairs
                    .iter()
                    .map(|(key, bytes)| read(key, bytes))
                    .collect::<Result<_, _>>()?,
            )
        })
    };
    each(layout::SIGNING_KEYS, &|key, bytes| {
        let key = vault.open::<KeyRecord>(key, bytes)?.read();
        let StoredKey {
            kid,
            algorithm,
            private,
            created_at,
            signs_from,
        } = key;
        let (private, signs_from) = (private.expose().clone(), Some(signs_from));
        Ok(Portable::SigningKey {
            kid,
            algorithm,
            private,
            created_at,
            signs_from,
        })
    })?;
    each(layout::USERS, &|key, bytes| {
        user(view, vault.open(key, bytes)?)
    })?;
    each(layout::GONE, &|key, bytes| {
        let GoneRecord { at, merged_into } = vault.open(key, bytes)?;
        let text = key
            .strip_prefix(layout::GONE)
            .and_then(|id| str::from_utf8(id).ok())
            .unwrap_or_default();
        let id = UserId::parse(text).map_err(|_| Failure::damaged(key, "is at no user's place"))?;
        Ok(Portable::Gone {
            id,
            at,
            merged_into,
        })
    })?;
    each(layout::SESSIONS, &|key, bytes| {
        let record: SessionRecord = vault.open(key, bytes)?;
        let SessionRecord {
            session,
            openid,
            global_epoch,
            ended_at,
            ..
        } = record;
        Ok(Portable::Session(Box::new(PortableSession {
            session,
            openid,
            global_epoch,
            ended_at,
        })))
    })?;
    each(layout::LOG, &|key, bytes| {
        Ok(Portable::Revocation(
            vault.open::<RevocationEntry>(key, bytes)?,
        ))
    })?;
    each(layout::OUTBOX, &|key, bytes| {
        let OutboxRecord { event, at, .. } = vault.open(key, bytes)?;
        Ok(Portable::Event { event, at })
    })
}

fn user(view: &dyn View, record: UserRecord) -> Result<Portable, Failure> {
    let UserRecord {
        user,
        openids,
        unionids,
        sessions: _,
    } = record;
    let openid = |(app_id, openid)| {
        let known: Option<OpenIdRecord> = view.find(Handle::OpenId(&app_id, &openid))?;
        let session_key = known.and_then(|known| known.session_key);
        Ok(PortableOpenId {
            app_id,
            openid,
            session_key,
        })
    };
    let openids = openids
        .into_iter()
        .map(openid)
        .collect::<Result<_, Failure>>()?;
    let password = match &user.username {
        Some(name) => view
            .find::<UsernameRecord>(Handle::Username(name))?
            .map(|record| record.password),
        None => None,
    };
    Ok(Portable::User(Box::new(PortableUser {
        user,
        openids,
        unionids: unionids.into_iter().collect(),
        password,
    })))
}

/// Writes these as they are. Says what the keyring is then, if it has changed.
pub(super) fn restore(
    draft: &mut Draft<'_>,
    keys: &StoreKeys,
    things: Vec<Portable>,
) -> Result<Option<Keyring>, Failure> {
    let mut changed = None;
    for thing in things {
        match thing {
            Portable::Counters {
                global_epoch,
                next_user,
            } => {
                draft.put(layout::GLOBAL_EPOCH.to_vec(), &global_epoch)?;
                if let Some(next_user) = next_user {
                    draft.put(layout::NEXT_USER.to_vec(), &next_user)?;
                }
            }
            Portable::Root(root) => {
                let keyring = draft.vault().keyring().with_root(Key::new(root));
                reseal::write(draft, keys, &keyring)?;
                changed = Some(keyring);
            }
            Portable::SigningKey {
                kid,
                algorithm,
                private,
                created_at,
                signs_from,
            } => {
                let last = draft.scan(layout::SIGNING_KEYS, None, usize::MAX)?.pop();
                let number = last
                    .and_then(|(at, _)| layout::number_at(&at))
                    .unwrap_or_default()
                    .saturating_add(1);
                let (private, signs_from) =
                    (Secret::new(private), signs_from.unwrap_or(created_at));
                let key = StoredKey {
                    kid,
                    algorithm,
                    private,
                    created_at,
                    signs_from,
                };
                draft.put(layout::signing_key(number), &KeyRecord::of(&key))?;
            }
            Portable::User(user) => restore_user(draft, *user)?,
            Portable::Gone {
                id,
                at,
                merged_into,
            } => draft.put(layout::gone(&id), &GoneRecord { at, merged_into })?,
            Portable::Session(session) => restore_session(draft, *session)?,
            Portable::Revocation(entry) => drop(revoke::log(draft, entry)?),
            Portable::Event { event, at } => outbox::put(draft, event, at)?,
        }
    }
    Ok(changed)
}

fn restore_user(draft: &mut Draft<'_>, user: PortableUser) -> Result<(), Failure> {
    let PortableUser {
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
        sessions: UNCOUNTED,
    };
    for PortableOpenId {
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
        draft.put_under(Handle::OpenId(&known.app_id, &known.openid), &known)?;
    }
    for unionid in unionids {
        draft.put_under(
            Handle::UnionId(&unionid),
            &UnionIdRecord {
                user: id.clone(),
                unionid: unionid.clone(),
            },
        )?;
    }
    if let Some(phone) = &record.user.phone {
        draft.put_under(
            Handle::Phone(phone),
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
        draft.put_under(Handle::Username(name), &known)?;
    }
    records::put_user(draft, &record)
}

fn restore_session(draft: &mut Draft<'_>, session: PortableSession) -> Result<(), Failure> {
    let PortableSession {
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
        displaced: Vec::new(),
        merged: None,
    };
    records::put_session(draft, &record)?;
    if ended_at.is_none() {
        draft.mark(layout::session_of(&user, id));
    }
    draft.mark(layout::expiry(
        sweep::session_forgotten_at(&record),
        &layout::session(id),
    ));
    Ok(())
}

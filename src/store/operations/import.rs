//! Users of another system, under the ids that they have there.
//!
//! Must stay true: everything that could be in the way of a user is looked at before anything is
//! written for them, so that each of a batch is imported whole or not at all; a repeat changes
//! nothing.

use super::{
    identity,
    layout::LookupKey,
    records::{OpenIdRecord, PhoneRecord, UnionIdRecord},
    transaction::Transaction,
    user_record::{self, UserRecord},
};
use crate::{
    store::{IdentityKind, ImportConflict, ImportOutcome, ImportedUser, error::EngineError},
    types::{AppId, OpenId, Phone, UnionId, UserId},
};

/// Imports each in turn.
pub(in crate::store) fn import_users(
    tx: &mut Transaction<'_>,
    users: &[ImportedUser],
) -> Result<Vec<ImportOutcome>, EngineError> {
    users.iter().map(|user| one(tx, user)).collect()
}

fn one(tx: &mut Transaction<'_>, new: &ImportedUser) -> Result<ImportOutcome, EngineError> {
    let links = match links(tx, new)? {
        Ok(links) => links,
        Err(conflict) => return Ok(ImportOutcome::Refused(conflict)),
    };
    let Some(known) = user_record::user(tx, &new.id)? else {
        if user_record::is_taken(tx, &new.id)? {
            return Ok(ImportOutcome::Refused(ImportConflict::IdDeleted));
        }
        return create(tx, new, &links);
    };
    if let Some(conflict) = find_conflict(&known, new, &links) {
        return Ok(ImportOutcome::Refused(conflict));
    }
    if links.is_empty() {
        return Ok(ImportOutcome::Unchanged);
    }
    link(tx, known, &links)?;
    Ok(ImportOutcome::Linked)
}

/// Identities that lead nowhere yet.
#[derive(Default)]
struct Links<'a> {
    openids: Vec<&'a (AppId, OpenId)>,
    unionid: Option<&'a UnionId>,
    phone: Option<&'a Phone>,
    /// How many lead to the user already.
    known: usize,
}

impl Links<'_> {
    fn is_empty(&self) -> bool {
        self.openids.is_empty() && self.unionid.is_none() && self.phone.is_none()
    }
}

/// What has to be linked, unless something leads to another user.
fn links<'a>(
    tx: &Transaction<'_>,
    new: &'a ImportedUser,
) -> Result<Result<Links<'a>, ImportConflict>, EngineError> {
    let mut links = Links::default();
    for openid in &new.openids {
        let owner = tx
            .find::<OpenIdRecord>(LookupKey::OpenId(&openid.0, &openid.1))?
            .map(|record| record.user);
        match leads_to(IdentityKind::OpenId, owner, &new.id) {
            Ok(true) => links.known += 1,
            Ok(false) if links.openids.contains(&openid) => {}
            Ok(false) => links.openids.push(openid),
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    if let Some(unionid) = &new.unionid {
        let owner = tx
            .find::<UnionIdRecord>(LookupKey::UnionId(unionid))?
            .map(|record| record.user);
        match leads_to(IdentityKind::UnionId, owner, &new.id) {
            Ok(true) => links.known += 1,
            Ok(false) => links.unionid = Some(unionid),
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    if let Some(phone) = &new.phone {
        let owner = tx
            .find::<PhoneRecord>(LookupKey::Phone(phone))?
            .map(|record| record.user);
        match leads_to(IdentityKind::Phone, owner, &new.id) {
            Ok(true) => links.known += 1,
            Ok(false) => links.phone = Some(phone),
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    Ok(Ok(links))
}

/// Whether it leads to the user; to another one it must not.
fn leads_to(
    identity: IdentityKind,
    owner: Option<UserId>,
    user: &UserId,
) -> Result<bool, ImportConflict> {
    match owner {
        None => Ok(false),
        Some(owner) if owner == *user => Ok(true),
        Some(owner) => Err(ImportConflict::IdentityTaken { identity, owner }),
    }
}

/// Why a user who exists cannot be the one who is imported. One identity in common makes them the
/// same.
fn find_conflict(
    known: &UserRecord,
    new: &ImportedUser,
    links: &Links<'_>,
) -> Option<ImportConflict> {
    let nothing_leads = new.openids.is_empty() && new.unionid.is_none() && new.phone.is_none();
    if links.known == 0 && !nothing_leads {
        return Some(ImportConflict::IdTaken);
    }
    let in_its_app = |(app, openid): &(AppId, OpenId)| {
        let mut known = known.openids.iter();
        known.any(|link| link.app_id == *app && link.openid != *openid)
    };
    if links.openids.iter().any(|openid| in_its_app(openid)) {
        return Some(ImportConflict::HasAnother(IdentityKind::OpenId));
    }
    if links.unionid.is_some() && !known.unionids.is_empty() {
        return Some(ImportConflict::HasAnother(IdentityKind::UnionId));
    }
    if links.phone.is_some() && known.user.phone.is_some() {
        return Some(ImportConflict::HasAnother(IdentityKind::Phone));
    }
    None
}

fn create(
    tx: &mut Transaction<'_>,
    new: &ImportedUser,
    links: &Links<'_>,
) -> Result<ImportOutcome, EngineError> {
    let two_of_one_app = links
        .openids
        .iter()
        .enumerate()
        .any(|(n, one)| links.openids[..n].iter().any(|o| o.0 == one.0));
    if two_of_one_app {
        return Ok(ImportOutcome::Refused(ImportConflict::HasAnother(
            IdentityKind::OpenId,
        )));
    }
    let mut record = identity::new_user(new.id.clone(), new.user_type.clone(), new.created_at);
    record.user.roles.clone_from(&new.roles);
    record.user.profile = new.profile.clone();
    identity::count_above(tx, &new.id)?;
    link(tx, record, links)?;
    Ok(ImportOutcome::Created)
}

fn link(
    tx: &mut Transaction<'_>,
    mut user: UserRecord,
    links: &Links<'_>,
) -> Result<(), EngineError> {
    let id = user.user.id.clone();
    for (app_id, openid) in links.openids.iter().copied() {
        let record = OpenIdRecord::new(&id, app_id, openid);
        tx.put_under(LookupKey::OpenId(app_id, openid), &record)?;
        user.add_openid(app_id, openid);
    }
    if let Some(unionid) = links.unionid {
        let record = UnionIdRecord::new(&id, unionid);
        tx.put_under(LookupKey::UnionId(unionid), &record)?;
        user.unionids.insert(unionid.clone());
    }
    if let Some(phone) = links.phone {
        tx.put_under(LookupKey::Phone(phone), &PhoneRecord::new(&id, phone))?;
        user.user.phone = Some(phone.clone());
    }
    user_record::put_user(tx, &user)
}

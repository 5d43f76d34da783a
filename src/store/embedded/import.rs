//! Users of another system, under the ids that they have there.
//!
//! Must stay true: everything that could be in the way of a user is looked at before anything is
//! written for them, so that each of a batch is imported whole or not at all; a repeat changes
//! nothing.

use super::{
    draft::Draft,
    identity,
    layout::Handle,
    records::{self, OpenIdRecord, PhoneRecord, UnionIdRecord, UserRecord},
};
use crate::{
    store::{ImportConflict, Imported, ImportedIdentity, ImportedUser, failure::Failure},
    types::{AppId, OpenId, Phone, UnionId, UserId},
};

/// Imports each in turn.
pub(super) fn all(draft: &mut Draft<'_>, users: &[ImportedUser]) -> Result<Vec<Imported>, Failure> {
    users.iter().map(|user| one(draft, user)).collect()
}

fn one(draft: &mut Draft<'_>, new: &ImportedUser) -> Result<Imported, Failure> {
    let links = match links(draft, new)? {
        Ok(links) => links,
        Err(conflict) => return Ok(Imported::Refused(conflict)),
    };
    let Some(known) = records::user(draft, &new.id)? else {
        if records::is_taken(draft, &new.id)? {
            return Ok(Imported::Refused(ImportConflict::IdGone));
        }
        return create(draft, new, &links);
    };
    if let Some(conflict) = contradiction(&known, new, &links) {
        return Ok(Imported::Refused(conflict));
    }
    if links.is_empty() {
        return Ok(Imported::Unchanged);
    }
    link(draft, known, &links)?;
    Ok(Imported::Linked)
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
    draft: &Draft<'_>,
    new: &'a ImportedUser,
) -> Result<Result<Links<'a>, ImportConflict>, Failure> {
    let mut links = Links::default();
    for openid in &new.openids {
        let owner = draft
            .find::<OpenIdRecord>(Handle::OpenId(&openid.0, &openid.1))?
            .map(|record| record.user);
        match lead(ImportedIdentity::OpenId, owner, &new.id) {
            Ok(true) => links.known += 1,
            Ok(false) if links.openids.contains(&openid) => {}
            Ok(false) => links.openids.push(openid),
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    if let Some(unionid) = &new.unionid {
        let owner = draft
            .find::<UnionIdRecord>(Handle::UnionId(unionid))?
            .map(|record| record.user);
        match lead(ImportedIdentity::UnionId, owner, &new.id) {
            Ok(true) => links.known += 1,
            Ok(false) => links.unionid = Some(unionid),
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    if let Some(phone) = &new.phone {
        let owner = draft
            .find::<PhoneRecord>(Handle::Phone(phone))?
            .map(|record| record.user);
        match lead(ImportedIdentity::Phone, owner, &new.id) {
            Ok(true) => links.known += 1,
            Ok(false) => links.phone = Some(phone),
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    Ok(Ok(links))
}

/// Whether it leads to the user; to another one it must not.
fn lead(
    identity: ImportedIdentity,
    owner: Option<UserId>,
    user: &UserId,
) -> Result<bool, ImportConflict> {
    match owner {
        None => Ok(false),
        Some(owner) if owner == *user => Ok(true),
        Some(to) => Err(ImportConflict::Belongs { identity, to }),
    }
}

/// Why a user who exists cannot be the one who is imported. One identity in common makes them the
/// same.
fn contradiction(
    known: &UserRecord,
    new: &ImportedUser,
    links: &Links<'_>,
) -> Option<ImportConflict> {
    let nothing_leads = new.openids.is_empty() && new.unionid.is_none() && new.phone.is_none();
    if links.known == 0 && !nothing_leads {
        return Some(ImportConflict::IdTaken);
    }
    let in_its_app = |(app, openid): &(AppId, OpenId)| {
        known.openids.iter().any(|(a, o)| a == app && o != openid)
    };
    if links.openids.iter().any(|openid| in_its_app(openid)) {
        return Some(ImportConflict::HasAnother(ImportedIdentity::OpenId));
    }
    if links.unionid.is_some() && !known.unionids.is_empty() {
        return Some(ImportConflict::HasAnother(ImportedIdentity::UnionId));
    }
    if links.phone.is_some() && known.user.phone.is_some() {
        return Some(ImportConflict::HasAnother(ImportedIdentity::Phone));
    }
    None
}

fn create(
    draft: &mut Draft<'_>,
    new: &ImportedUser,
    links: &Links<'_>,
) -> Result<Imported, Failure> {
    let two_of_one_app = links
        .openids
        .iter()
        .enumerate()
        .any(|(n, one)| links.openids[..n].iter().any(|o| o.0 == one.0));
    if two_of_one_app {
        return Ok(Imported::Refused(ImportConflict::HasAnother(
            ImportedIdentity::OpenId,
        )));
    }
    let mut record = identity::new_user(new.id.clone(), new.user_type.clone(), new.created_at);
    record.user.roles.clone_from(&new.roles);
    record.user.profile = new.profile.clone();
    identity::count_above(draft, &new.id)?;
    link(draft, record, links)?;
    Ok(Imported::Created)
}

fn link(draft: &mut Draft<'_>, mut user: UserRecord, links: &Links<'_>) -> Result<(), Failure> {
    let id = user.user.id.clone();
    for (app_id, openid) in links.openids.iter().copied() {
        let record = OpenIdRecord {
            user: id.clone(),
            app_id: app_id.clone(),
            openid: openid.clone(),
            session_key: None,
            previous_session_key: None,
        };
        draft.put_under(Handle::OpenId(app_id, openid), &record)?;
        user.openids.insert((app_id.clone(), openid.clone()));
    }
    if let Some(unionid) = links.unionid {
        draft.put_under(
            Handle::UnionId(unionid),
            &UnionIdRecord {
                user: id.clone(),
                unionid: unionid.clone(),
            },
        )?;
        user.unionids.insert(unionid.clone());
    }
    if let Some(phone) = links.phone {
        draft.put_under(
            Handle::Phone(phone),
            &PhoneRecord {
                user: id.clone(),
                phone: phone.clone(),
            },
        )?;
        user.user.phone = Some(phone.clone());
    }
    records::put_user(draft, &user)
}

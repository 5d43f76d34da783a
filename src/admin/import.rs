//! `/admin/users/import`: users of another system, some at a time, for `menshen import users`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{
    Operations,
    exchange::{Refused, Sent},
};
use crate::{
    auth::profile,
    store::{IdentityKind, ImportConflict, ImportOutcome, ImportedUser, Profile},
    types::{AppId, Malformed, OpenId, Phone, Timestamp, UnionId, UserId, UserType},
};

/// Longest body, in bytes.
pub const LONGEST_BODY: usize = 2 * 1024 * 1024;
/// Most users of one call: bounds how long logins wait for it.
pub const MOST_USERS: usize = 200;
/// Most openids of one user.
const MOST_OPENIDS: usize = 16;
/// Most roles of one user; their names are told to the backend in one header.
const MOST_ROLES: usize = 32;

/// Some users.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Nothing is kept of it.
    #[serde(default)]
    pub is_trial: bool,
    pub users: Vec<ImportRow>,
}

/// One user, as text. Personal.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportRow {
    pub id: String,
    /// App id and openid.
    pub openids: Vec<(String, String)>,
    pub unionid: Option<String>,
    /// In any spelling; without a country code of mainland China.
    pub phone: Option<String>,
    pub nickname: Option<String>,
    pub avatar_url: Option<String>,
    /// Absent: `user`.
    pub user_type: Option<String>,
    pub roles: Vec<String>,
    /// Milliseconds since 1970-01-01T00:00:00Z. Absent: now.
    pub created_at: Option<u64>,
}

/// What is wrong with a row: its field and why, without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongField {
    pub field: &'static str,
    pub says: &'static str,
}

/// A row that was understood.
#[derive(Debug)]
pub struct ReadRow {
    pub user: ImportedUser,
    /// Parts of the profile that have no form that is kept, and are left out.
    pub left_out: usize,
}

/// What became of a batch: an outcome for each of its users, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcomes {
    pub outcomes: Vec<Outcome>,
}

/// What became of one user.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Created,
    Linked,
    Unchanged,
    /// The field that is in the way, and why.
    Refused {
        field: String,
        says: String,
    },
}

pub(super) async fn users(
    State(state): State<Arc<Operations>>,
    Sent(batch): Sent<Batch>,
) -> Result<Json<Outcomes>, Refused> {
    if batch.users.len() > MOST_USERS {
        return Err(Refused::from(Malformed("a call has at most 200 users")));
    }
    let now = state.clock.now();
    // What cannot be read keeps its place among the outcomes.
    let read: Vec<Result<ImportedUser, WrongField>> = batch
        .users
        .iter()
        .map(|row| row.read(now).map(|read| read.user))
        .collect();
    let users: Vec<ImportedUser> = read
        .iter()
        .filter_map(|read| read.as_ref().ok().cloned())
        .collect();
    let mut done = state
        .administration
        .import(&users, batch.is_trial)
        .await?
        .into_iter();
    let outcomes = read.into_iter().map(|read| match read {
        Ok(_) => done.next().map_or_else(
            || Outcome::refused("id", "was not looked at"),
            Outcome::from,
        ),
        Err(WrongField { field, says }) => Outcome::refused(field, says),
    });
    Ok(Json(Outcomes {
        outcomes: outcomes.collect(),
    }))
}

impl ImportRow {
    /// Reads the values, or says what is wrong with the first one that is.
    pub fn read(&self, now: Timestamp) -> Result<ReadRow, WrongField> {
        let id = UserId::parse(&self.id).map_err(wrong("id"))?;
        if self.openids.len() > MOST_OPENIDS {
            return Err(WrongField {
                field: "openid",
                says: "must be 16 or fewer",
            });
        }
        let openid = |(app, openid): &(String, String)| {
            Ok((
                AppId::parse(app).map_err(wrong("app_id"))?,
                OpenId::parse(openid).map_err(wrong("openid"))?,
            ))
        };
        let openids = self
            .openids
            .iter()
            .map(openid)
            .collect::<Result<_, WrongField>>()?;
        let unionid = self
            .unionid
            .as_deref()
            .map(UnionId::parse)
            .transpose()
            .map_err(wrong("unionid"))?;
        let phone = self
            .phone
            .as_deref()
            .map(Phone::parse_any)
            .transpose()
            .map_err(wrong("phone"))?;
        let user_type = self
            .user_type
            .as_deref()
            .map_or_else(|| Ok(UserType::user()), UserType::parse);
        let user_type = user_type.map_err(wrong("user_type"))?;
        // What a token can carry, and a header can tell.
        let plain = |role: &String| {
            (1..=64).contains(&role.len())
                && role.bytes().all(|b| b.is_ascii_graphic() && b != b',')
        };
        if self.roles.len() > MOST_ROLES || !self.roles.iter().all(plain) {
            return Err(WrongField {
                field: "roles",
                says: "must be at most 32 names of visible ASCII without commas",
            });
        }
        let created_at = self.created_at.map_or(now, Timestamp::from_millis);
        if created_at > now {
            return Err(WrongField {
                field: "created_at",
                says: "is in the future",
            });
        }
        let nickname = self.nickname.as_deref().map(profile::nickname).transpose();
        let avatar_url = self
            .avatar_url
            .as_deref()
            .map(profile::avatar_url)
            .transpose();
        let left_out = usize::from(nickname.is_err()) + usize::from(avatar_url.is_err());
        let profile = Profile {
            nickname: nickname.ok().flatten().flatten(),
            avatar_url: avatar_url.ok().flatten(),
            bio: None,
            birthday: None,
        };
        let roles = self.roles.clone();
        let user = ImportedUser {
            id,
            openids,
            unionid,
            phone,
            user_type,
            roles,
            profile,
            created_at,
        };
        Ok(ReadRow { user, left_out })
    }
}

fn wrong(field: &'static str) -> impl Fn(Malformed) -> WrongField {
    move |Malformed(says)| WrongField { field, says }
}

impl Outcome {
    fn refused(field: impl Into<String>, says: impl Into<String>) -> Self {
        Self::Refused {
            field: field.into(),
            says: says.into(),
        }
    }
}

impl From<ImportOutcome> for Outcome {
    fn from(imported: ImportOutcome) -> Self {
        let name = |identity| match identity {
            IdentityKind::OpenId => "openid",
            IdentityKind::UnionId => "unionid",
            IdentityKind::Phone => "phone",
        };
        match imported {
            ImportOutcome::Created => Self::Created,
            ImportOutcome::Linked => Self::Linked,
            ImportOutcome::Unchanged => Self::Unchanged,
            ImportOutcome::Refused(ImportConflict::IdTaken) => Self::refused(
                "id",
                "is that of a user here to whom none of these identities leads",
            ),
            ImportOutcome::Refused(ImportConflict::IdDeleted) => Self::refused(
                "id",
                "was that of a user here who was erased, or joined to another one",
            ),
            ImportOutcome::Refused(ImportConflict::IdentityTaken { identity, owner }) => {
                Self::refused(name(identity), format!("leads to user {owner} here"))
            }
            ImportOutcome::Refused(ImportConflict::HasAnother(IdentityKind::OpenId)) => {
                Self::refused("openid", "is a second one in its app for this user")
            }
            ImportOutcome::Refused(ImportConflict::HasAnother(identity)) => {
                Self::refused(name(identity), "is another one than this user has here")
            }
        }
    }
}

impl std::fmt::Debug for ImportRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImportRow(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn row() -> ImportRow {
        ImportRow {
            id: "65f0c0ffee00000000000017".to_owned(),
            openids: vec![("wx1".to_owned(), "oABC".to_owned())],
            phone: Some("０086 138-0013-8000".replace('０', "0")),
            ..ImportRow::default()
        }
    }

    #[test]
    fn a_row_is_read_as_a_login_would_be() {
        let read = row().read(NOW).unwrap();
        assert_eq!(read.user.phone.unwrap().as_str(), "+8613800138000");
        assert_eq!(
            (read.user.created_at, read.user.user_type),
            (NOW, UserType::user())
        );
        let pasted = ImportRow {
            phone: Some("\u{202d}138\u{2013}0013\u{2013}8000\u{202c}".to_owned()),
            ..row()
        };
        assert_eq!(
            pasted.read(NOW).unwrap().user.phone.unwrap().as_str(),
            "+8613800138000"
        );
    }

    #[test]
    fn what_is_wrong_names_the_field_and_not_the_value() {
        fn read(change: impl Fn(&mut ImportRow)) -> &'static str {
            let mut row = row();
            change(&mut row);
            row.read(NOW).unwrap_err().field
        }
        assert_eq!(read(|row| row.id = "a b".to_owned()), "id");
        assert_eq!(read(|row| row.openids[0].0 = String::new()), "app_id");
        assert_eq!(read(|row| row.openids[0].1 = "a b".to_owned()), "openid");
        assert_eq!(
            read(|row| row.openids = vec![row.openids[0].clone(); 17]),
            "openid"
        );
        assert_eq!(read(|row| row.unionid = Some("a b".to_owned())), "unionid");
        assert_eq!(read(|row| row.phone = Some("12345".to_owned())), "phone");
        assert_eq!(
            read(|row| row.phone = Some("-13800138000".to_owned())),
            "phone"
        );
        assert_eq!(
            read(|row| row.user_type = Some("a b".to_owned())),
            "user_type"
        );
        for role in ["", "a b", "a,b", &"x".repeat(65)] {
            assert_eq!(read(|row| row.roles = vec![role.to_owned()]), "roles");
        }
        assert_eq!(
            read(|row| row.created_at = Some(NOW.as_millis() + 1)),
            "created_at"
        );
    }

    #[test]
    fn a_profile_that_has_no_form_to_keep_is_left_out() {
        let row = ImportRow {
            nickname: Some("x".repeat(65)),
            avatar_url: Some("/media/a.png".to_owned()),
            ..row()
        };
        let read = row.read(NOW).unwrap();
        assert_eq!((read.left_out, read.user.profile), (2, Profile::default()));
        let row = ImportRow {
            nickname: Some("微信用户".to_owned()),
            ..row
        };
        assert_eq!(
            row.read(NOW).unwrap().left_out,
            1,
            "nobody's name is nothing to tell about"
        );
    }
}

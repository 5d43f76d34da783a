//! `/admin/users/import`: users of another system, in batches, for `menshen import users`.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{
    json_body::JsonBody,
    rejection::{AdminRejection, JsonResult},
    state::SharedState,
};
use crate::{
    auth::profile,
    store::{IdentityKind, ImportConflict, ImportOutcome, ImportedUser, Profile},
    types::{AppId, Malformed, OpenId, Phone, Timestamp, UnionId, UserId, UserType},
};

/// Longest body, in bytes.
pub const MAX_BODY_LEN: usize = 2 * 1024 * 1024;
/// Users in one request: bounds how long logins wait for it.
pub const MAX_USERS: usize = 200;
/// Openids of one user.
const MAX_OPENIDS: usize = 16;
/// Roles of one user; the backend gets them in one header.
const MAX_ROLES: usize = 32;

/// A batch of users.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportBatch {
    /// A trial run: nothing is stored.
    #[serde(default)]
    pub is_trial: bool,
    pub users: Vec<ImportRow>,
}

/// One user, as text. Personal data.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportRow {
    pub id: String,
    /// App id and openid.
    pub openids: Vec<(String, String)>,
    pub unionid: Option<String>,
    /// In any spelling; without a country code it is of mainland China.
    pub phone: Option<String>,
    pub nickname: Option<String>,
    pub avatar_url: Option<String>,
    /// Absent: `user`.
    pub user_type: Option<String>,
    pub roles: Vec<String>,
    /// Milliseconds since 1970-01-01T00:00:00Z. Absent: now.
    pub created_at: Option<u64>,
}

/// Why a row is invalid: a field and a message, without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportFieldError {
    pub field: &'static str,
    pub message: &'static str,
}

/// A valid row.
#[derive(Debug)]
pub struct ParsedRow {
    pub user: ImportedUser,
    /// Number of invalid parts of the profile, which are left out.
    pub left_out: usize,
}

/// The outcome for each user of a batch, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct RowOutcomes {
    pub outcomes: Vec<RowOutcome>,
}

/// The outcome for one user.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    Created,
    Linked,
    Unchanged,
    /// The field that is in the way, and why.
    #[serde(rename = "refused")]
    Rejected {
        field: String,
        #[serde(rename = "says")]
        message: String,
    },
}

pub(super) async fn users(
    State(state): SharedState,
    JsonBody(batch): JsonBody<ImportBatch>,
) -> JsonResult<RowOutcomes> {
    if batch.users.len() > MAX_USERS {
        return Err(AdminRejection::from(Malformed(
            "a call has at most 200 users",
        )));
    }
    let now = state.clock.now();
    // An invalid row keeps its index among the outcomes.
    let read: Vec<Result<ImportedUser, ImportFieldError>> = batch
        .users
        .iter()
        .map(|row| row.parse(now).map(|parsed| parsed.user))
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
            || RowOutcome::rejected("id", "was not looked at"),
            RowOutcome::from,
        ),
        Err(ImportFieldError { field, message }) => RowOutcome::rejected(field, message),
    });
    Ok(Json(RowOutcomes {
        outcomes: outcomes.collect(),
    }))
}

impl ImportRow {
    /// Parses the row, or returns its first error.
    pub fn parse(&self, now: Timestamp) -> Result<ParsedRow, ImportFieldError> {
        let id = UserId::parse(&self.id).map_err(invalid("id"))?;
        if self.openids.len() > MAX_OPENIDS {
            return Err(invalid("openid")(Malformed("must be 16 or fewer")));
        }
        let openid = |(app, openid): &(String, String)| {
            Ok((
                AppId::parse(app).map_err(invalid("app_id"))?,
                OpenId::parse(openid).map_err(invalid("openid"))?,
            ))
        };
        let openids = self
            .openids
            .iter()
            .map(openid)
            .collect::<Result<_, ImportFieldError>>()?;
        let unionid = optional("unionid", self.unionid.as_deref(), UnionId::parse)?;
        let phone = optional("phone", self.phone.as_deref(), Phone::parse_any)?;
        let user_type = optional("user_type", self.user_type.as_deref(), UserType::parse)?
            .unwrap_or_else(UserType::user);
        // Tokens and header fields can carry these.
        let plain = |role: &String| {
            (1..=64).contains(&role.len())
                && role.bytes().all(|b| b.is_ascii_graphic() && b != b',')
        };
        if self.roles.len() > MAX_ROLES || !self.roles.iter().all(plain) {
            let message = "must be at most 32 names of visible ASCII without commas";
            return Err(invalid("roles")(Malformed(message)));
        }
        let created_at = self.created_at.map_or(now, Timestamp::from_millis);
        if created_at > now {
            return Err(invalid("created_at")(Malformed("is in the future")));
        }
        let nickname = optional("nickname", self.nickname.as_deref(), profile::nickname);
        let avatar_url = optional(
            "avatar_url",
            self.avatar_url.as_deref(),
            profile::avatar_url,
        );
        let left_out = usize::from(nickname.is_err()) + usize::from(avatar_url.is_err());
        let profile = Profile {
            nickname: nickname.ok().flatten().flatten(),
            avatar_url: avatar_url.ok().flatten(),
            ..Profile::default()
        };
        let user = ImportedUser {
            id,
            openids,
            unionid,
            phone,
            user_type,
            roles: self.roles.clone(),
            profile,
            created_at,
        };
        Ok(ParsedRow { user, left_out })
    }
}

/// A field that may be absent.
fn optional<T>(
    field: &'static str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, Malformed>,
) -> Result<Option<T>, ImportFieldError> {
    text.map(parse).transpose().map_err(invalid(field))
}

fn invalid(field: &'static str) -> impl Fn(Malformed) -> ImportFieldError {
    move |Malformed(message)| ImportFieldError { field, message }
}

impl RowOutcome {
    fn rejected(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Rejected {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl From<ImportOutcome> for RowOutcome {
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
            ImportOutcome::Refused(ImportConflict::IdTaken) => Self::rejected(
                "id",
                "is the id of a user here, and none of these identities belongs to that user",
            ),
            ImportOutcome::Refused(ImportConflict::IdDeleted) => Self::rejected(
                "id",
                "was the id of a user here who was erased, or merged into another user",
            ),
            ImportOutcome::Refused(ImportConflict::IdentityTaken { identity, owner }) => {
                Self::rejected(name(identity), format!("belongs to user {owner} here"))
            }
            ImportOutcome::Refused(ImportConflict::HasAnother(IdentityKind::OpenId)) => {
                Self::rejected("openid", "is a second one in its app for this user")
            }
            ImportOutcome::Refused(ImportConflict::HasAnother(identity)) => {
                Self::rejected(name(identity), "is another one than this user has here")
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
        let read = row().parse(NOW).unwrap();
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
            pasted.parse(NOW).unwrap().user.phone.unwrap().as_str(),
            "+8613800138000"
        );
    }

    #[test]
    fn what_is_wrong_names_the_field_and_not_the_value() {
        fn read(change: impl Fn(&mut ImportRow)) -> &'static str {
            let mut row = row();
            change(&mut row);
            row.parse(NOW).unwrap_err().field
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
        let read = row.parse(NOW).unwrap();
        assert_eq!((read.left_out, read.user.profile), (2, Profile::default()));
        let row = ImportRow {
            nickname: Some("微信用户".to_owned()),
            ..row
        };
        assert_eq!(
            row.parse(NOW).unwrap().left_out,
            1,
            "nobody's name is nothing to tell about"
        );
    }
}

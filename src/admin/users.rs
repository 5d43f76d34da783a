//! `/admin/users`: accounts of a running process, for `menshen users`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    Operations,
    exchange::{Refused, Sent},
};
use crate::{
    audit::Event,
    auth::{AccountChange, Password},
    store::{Identities, Profile, User, UserIdentity},
    types::{AppId, Malformed, OpenId, Phone, Secret, UnionId, UserId, UserType, Username},
};

/// Users in one answer, at most and unless asked otherwise.
const PAGE: usize = 100;

/// A part of all users, in the order of their ids as text.
#[derive(Debug, Serialize, Deserialize)]
pub struct Users {
    pub users: Vec<UserRow>,
    /// What to ask for as `after` next; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<UserId>,
}

/// A user without what is personal.
#[derive(Debug, Serialize, Deserialize)]
pub struct UserRow {
    pub id: UserId,
    pub user_type: UserType,
    pub roles: Vec<String>,
    pub disabled: bool,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub last_login_at: String,
    pub username: Option<Username>,
    pub phone_masked: Option<String>,
}

/// A user and what leads to them.
#[derive(Debug, Serialize, Deserialize)]
pub struct UserAnswer {
    #[serde(flatten)]
    pub user: UserRow,
    /// The mini programs that this user has signed in to.
    pub app_ids: Vec<AppId>,
    /// Only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Personal>,
}

/// What is personal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Personal {
    pub phone: Option<Phone>,
    pub profile: Profile,
    pub openids: Vec<OpenIdIn>,
    pub unionids: Vec<UnionId>,
}

/// A person within one app id.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenIdIn {
    pub app_id: AppId,
    pub openid: OpenId,
}

/// The id of a user.
#[derive(Debug, Serialize, Deserialize)]
pub struct UserRef {
    pub id: UserId,
}

/// How many sessions ended with what was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    pub sessions: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageWanted {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DetailWanted {
    #[serde(default)]
    personal: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    username: String,
    password: String,
    user_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Promotion {
    user_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    password: String,
}

/// By what somebody is looked for: one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Wanted {
    Phone(String),
    Username(String),
    Openid { app_id: String, openid: String },
}

type Answer<T> = Result<Json<T>, Refused>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Shared = State<Arc<Operations>>;

pub(super) async fn list(State(state): Shared, wanted: Asked<PageWanted>) -> Answer<Users> {
    let Query(wanted) = wanted?;
    let after = wanted.after.as_deref().map(UserId::parse).transpose()?;
    let limit = wanted.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let users = state.administration.users(after.as_ref(), limit).await?;
    let next = users
        .last()
        .filter(|_| users.len() == limit)
        .map(|user| user.id.clone());
    Ok(Json(Users {
        users: users.into_iter().map(UserRow::from).collect(),
        next,
    }))
}

pub(super) async fn show(
    State(state): Shared,
    Path(id): Path<String>,
    wanted: Asked<DetailWanted>,
) -> Answer<UserAnswer> {
    let Query(wanted) = wanted?;
    let found = state.administration.user(&UserId::parse(&id)?).await?;
    if wanted.personal {
        state.audit.record(&Event::AccountShown {
            user: &found.user.id,
        });
    }
    Ok(Json(UserAnswer::new(found, wanted.personal)))
}

pub(super) async fn find(State(state): Shared, Sent(wanted): Sent<Wanted>) -> Answer<UserRef> {
    let by = wanted.lookup()?;
    Ok(Json(UserRef {
        id: state.administration.find(&by).await?,
    }))
}

pub(super) async fn add(
    State(state): Shared,
    Sent(new): Sent<NewUser>,
) -> Result<(StatusCode, Json<UserRow>), Refused> {
    let username = Username::parse(&new.username).map_err(|says| wrong("username", says))?;
    let user_type = UserType::parse(&new.user_type).map_err(|says| wrong("user_type", says))?;
    let password = chosen(new.password)?;
    let user = state
        .administration
        .add(username, &password, user_type)
        .await?;
    Ok((StatusCode::CREATED, Json(UserRow::from(user))))
}

pub(super) async fn ban(state: Shared, id: Path<String>) -> Answer<Ended> {
    change(state, id, AccountChange::Ban).await
}

pub(super) async fn unban(state: Shared, id: Path<String>) -> Answer<Ended> {
    change(state, id, AccountChange::Unban).await
}

pub(super) async fn promote(
    state: Shared,
    id: Path<String>,
    Sent(to): Sent<Promotion>,
) -> Answer<Ended> {
    let kind = UserType::parse(&to.user_type).map_err(|says| wrong("user_type", says))?;
    change(state, id, AccountChange::UserType(kind)).await
}

pub(super) async fn password(
    state: Shared,
    id: Path<String>,
    Sent(new): Sent<NewPassword>,
) -> Answer<Ended> {
    change(state, id, AccountChange::Password(chosen(new.password)?)).await
}

pub(super) async fn erase(State(state): Shared, Path(id): Path<String>) -> Answer<Ended> {
    Ok(Json(Ended {
        sessions: state.administration.erase(&UserId::parse(&id)?).await?,
    }))
}

async fn change(
    State(state): Shared,
    Path(id): Path<String>,
    change: AccountChange,
) -> Answer<Ended> {
    Ok(Json(Ended {
        sessions: state
            .administration
            .change(&UserId::parse(&id)?, change)
            .await?,
    }))
}

fn chosen(text: String) -> Result<Password, Refused> {
    Password::parse_new(Secret::new(text).expose()).map_err(|says| wrong("password", says))
}

fn wrong(field: &str, Malformed(says): Malformed) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, format!("{field} {says}"))
}

impl Wanted {
    fn lookup(self) -> Result<UserIdentity, Refused> {
        Ok(match self {
            // Exactly as it is stored: which countries are served does not matter here.
            Self::Phone(text) => UserIdentity::Phone(Phone::parse_any(&text)?),
            Self::Username(text) => UserIdentity::Username(Username::parse(&text)?),
            Self::Openid { app_id, openid } => {
                UserIdentity::OpenId(AppId::parse(&app_id)?, OpenId::parse(&openid)?)
            }
        })
    }
}

impl From<User> for UserRow {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            user_type: user.user_type,
            roles: user.roles,
            disabled: user.disabled,
            created_at: user.created_at.rfc3339(),
            last_login_at: user.last_login_at.rfc3339(),
            username: user.username,
            phone_masked: user.phone.map(|phone| phone.masked()),
        }
    }
}

impl UserAnswer {
    fn new(found: Identities, with_personal: bool) -> Self {
        let Identities {
            user,
            openids,
            unionids,
        } = found;
        let app_ids = openids.iter().map(|(app_id, _)| app_id.clone()).collect();
        let openids = openids
            .into_iter()
            .map(|(app_id, openid)| OpenIdIn { app_id, openid })
            .collect();
        let personal = Personal {
            phone: user.phone.clone(),
            profile: user.profile.clone(),
            openids,
            unionids,
        };
        Self {
            user: UserRow::from(user),
            app_ids,
            personal: with_personal.then_some(personal),
        }
    }
}

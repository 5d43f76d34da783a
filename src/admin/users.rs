//! `/admin/users`: accounts of a running process, for `menshen users`.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    json_body::JsonBody,
    rejection::{AdminRejection, JsonResult},
    state::SharedState,
};
use crate::{
    audit::{Actor, Event},
    auth::Password,
    store::{Identities, Profile, RightsChange, User, UserIdentity},
    types::{AppId, Malformed, OpenId, Phone, Secret, UnionId, UserId, UserType, Username},
};

/// Users in one response, at most and by default.
const PAGE: usize = 100;

/// A page of users, in the order of their ids as text.
#[derive(Debug, Serialize, Deserialize)]
pub struct Users {
    pub users: Vec<UserRow>,
    /// `after` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<UserId>,
}

/// A user without personal data.
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

/// A user and its identities.
#[derive(Debug, Serialize, Deserialize)]
pub struct UserDetails {
    #[serde(flatten)]
    pub user: UserRow,
    /// The mini programs that the user has signed in to.
    pub app_ids: Vec<AppId>,
    /// Only on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<PersonalData>,
}

/// Personal data.
#[derive(Debug, Serialize, Deserialize)]
pub struct PersonalData {
    pub phone: Option<Phone>,
    pub profile: Profile,
    pub openids: Vec<AppOpenId>,
    pub unionids: Vec<UnionId>,
}

/// The openid of a user in one mini program.
#[derive(Debug, Serialize, Deserialize)]
pub struct AppOpenId {
    pub app_id: AppId,
    pub openid: OpenId,
}

/// The id of a user.
#[derive(Debug, Serialize, Deserialize)]
pub struct UserRef {
    pub id: UserId,
}

/// The number of sessions that an operation has ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndedSessions {
    pub sessions: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DetailQuery {
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

/// How to find a user: exactly one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum UserQuery {
    Phone(String),
    Username(String),
    Openid { app_id: String, openid: String },
}

type QueryResult<T> = Result<Query<T>, QueryRejection>;

pub(super) async fn list(
    State(state): SharedState,
    query: QueryResult<PageQuery>,
) -> JsonResult<Users> {
    let Query(query) = query?;
    let after = query.after.as_deref().map(UserId::parse).transpose()?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE);
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
    State(state): SharedState,
    Path(id): Path<String>,
    query: QueryResult<DetailQuery>,
) -> JsonResult<UserDetails> {
    let Query(query) = query?;
    let found = state.administration.user(&UserId::parse(&id)?).await?;
    if query.personal {
        state.audit.record(&Event::AccountShown {
            user: &found.user.id,
            by: Actor::Operator,
        });
    }
    Ok(Json(UserDetails::new(found, query.personal)))
}

pub(super) async fn find(
    State(state): SharedState,
    JsonBody(query): JsonBody<UserQuery>,
) -> JsonResult<UserRef> {
    let identity = query.lookup()?;
    let id = state.find(&identity, Actor::Operator).await?;
    Ok(Json(UserRef { id }))
}

pub(super) async fn add(
    State(state): SharedState,
    JsonBody(new): JsonBody<NewUser>,
) -> Result<(StatusCode, Json<UserRow>), AdminRejection> {
    let username = Username::parse(&new.username).map_err(|says| invalid("username", says))?;
    let user_type = UserType::parse(&new.user_type).map_err(|says| invalid("user_type", says))?;
    let password = parse_password(new.password)?;
    let user = state
        .administration
        .add(username, &password, user_type)
        .await?;
    Ok((StatusCode::CREATED, Json(UserRow::from(user))))
}

pub(super) async fn ban(state: SharedState, id: Path<String>) -> JsonResult<EndedSessions> {
    change(state, id, RightsChange::Ban).await
}

pub(super) async fn unban(state: SharedState, id: Path<String>) -> JsonResult<EndedSessions> {
    change(state, id, RightsChange::Unban).await
}

pub(super) async fn promote(
    state: SharedState,
    id: Path<String>,
    JsonBody(to): JsonBody<Promotion>,
) -> JsonResult<EndedSessions> {
    let user_type = UserType::parse(&to.user_type).map_err(|says| invalid("user_type", says))?;
    change(state, id, RightsChange::UserType(user_type)).await
}

pub(super) async fn password(
    State(state): SharedState,
    Path(id): Path<String>,
    JsonBody(new): JsonBody<NewPassword>,
) -> JsonResult<EndedSessions> {
    let (password, id) = (parse_password(new.password)?, UserId::parse(&id)?);
    let changed = state
        .administration
        .set_password(&id, &password, Actor::Operator);
    let sessions = changed.await?;
    Ok(Json(EndedSessions { sessions }))
}

pub(super) async fn erase(
    State(state): SharedState,
    Path(id): Path<String>,
) -> JsonResult<EndedSessions> {
    let id = UserId::parse(&id)?;
    let sessions = state.administration.erase(&id, Actor::Operator).await?;
    Ok(Json(EndedSessions { sessions }))
}

async fn change(
    State(state): SharedState,
    Path(id): Path<String>,
    change: RightsChange,
) -> JsonResult<EndedSessions> {
    let id = UserId::parse(&id)?;
    let changed = state.administration.change(&id, &change, Actor::Operator);
    let sessions = changed.await?;
    Ok(Json(EndedSessions { sessions }))
}

fn parse_password(text: String) -> Result<Password, AdminRejection> {
    Password::parse_new(Secret::new(text).expose()).map_err(|says| invalid("password", says))
}

fn invalid(field: &str, Malformed(says): Malformed) -> AdminRejection {
    AdminRejection::new(StatusCode::BAD_REQUEST, format!("{field} {says}"))
}

impl UserQuery {
    fn lookup(self) -> Result<UserIdentity, AdminRejection> {
        Ok(match self {
            // By the stored form: the countries that are served do not matter here.
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

impl UserDetails {
    fn new(found: Identities, with_personal: bool) -> Self {
        let Identities {
            user,
            openids,
            unionids,
        } = found;
        let app_ids = openids.iter().map(|(app_id, _)| app_id.clone()).collect();
        let openids = openids
            .into_iter()
            .map(|(app_id, openid)| AppOpenId { app_id, openid })
            .collect();
        let personal = PersonalData {
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

//! A user as the templates of a dialect show one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::place::{Given, Place};
use crate::{
    config::{ShownPhone, UserIds},
    store::User,
    types::{OpenId, Phone, UserId, UserType},
};

/// How a dialect shows users.
#[derive(Debug, Clone)]
pub struct PersonForm {
    /// Ids that are integers are numbers in JSON.
    pub ids: UserIds,
    pub openid: bool,
    pub phone: ShownPhone,
    /// Other names of kinds of user.
    pub user_types: BTreeMap<String, String>,
}

/// Somebody, and how to show them.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    pub user: &'a User,
    /// By which WeChat knows them here, where that was asked.
    pub openid: Option<&'a OpenId>,
    pub form: &'a PersonForm,
}

impl<'a> Person<'a> {
    /// What stands at a place of a user; nothing at any other.
    pub fn give(self, place: Place) -> Given<'a> {
        let User {
            id,
            user_type,
            roles,
            profile,
            phone,
            username,
            ..
        } = self.user;
        let phone = phone.as_ref();
        match place {
            Place::UserId => self::id(id, self.form.ids),
            Place::UserType => {
                let own = user_type.as_str();
                Given::text(Some(
                    self.form.user_types.get(own).map_or(own, String::as_str),
                ))
            }
            Place::UserName => Given::text(username.as_ref().map(crate::types::Username::as_str)),
            Place::UserNickname => Given::text(profile.nickname.as_deref()),
            Place::UserAvatarUrl => Given::text(profile.avatar_url.as_deref()),
            Place::UserBio => Given::text(profile.bio.as_deref()),
            Place::UserBirthday => Given::text(profile.birthday.as_deref()),
            Place::UserPhone => match self.form.phone {
                ShownPhone::Masked => masked(phone),
                ShownPhone::Full => Given::text(phone.map(national)),
            },
            Place::UserPhoneMasked => masked(phone),
            Place::UserOpenid => {
                Given::text(self.openid.filter(|_| self.form.openid).map(OpenId::as_str))
            }
            Place::UserIsStaff => Given::Truth(*user_type == UserType::admin()),
            Place::UserIsSuperuser if *user_type == UserType::admin() => Given::Truth(true),
            Place::UserRoles => Given::Json(
                roles
                    .iter()
                    .map(|role| Value::from(role.as_str()))
                    .collect(),
            ),
            Place::UserCreatedAt => Given::Time(self.user.created_at),
            Place::UserLastLoginAt => Given::Time(self.user.last_login_at),
            _ => Given::Nothing,
        }
    }
}

/// An id; a number where ids are that, unless it is too large for the numbers of JSON.
pub(super) fn id(id: &UserId, ids: UserIds) -> Given<'_> {
    match id
        .as_str()
        .parse()
        .ok()
        .filter(|_| ids == UserIds::Integer)
        .map(Given::count)
    {
        None | Some(Given::Nothing) => Given::text(Some(id.as_str())),
        Some(number) => number,
    }
}

fn masked(phone: Option<&Phone>) -> Given<'_> {
    phone.map_or(Given::Nothing, |phone| Given::owned(phone.masked()))
}

/// As the databases of such backends have it: of mainland China without the country code, else
/// E.164.
pub fn national(phone: &Phone) -> &str {
    phone.mainland_number().unwrap_or(phone.as_str())
}

//! The values of a user's placeholders.

use std::collections::BTreeMap;

use serde_json::json;

use super::placeholder::{Placeholder, PlaceholderValue};
use crate::{
    config::{ShownPhone, UserIds},
    store::User,
    types::{OpenId, Phone, UserId, UserType},
};

/// How a dialect shows users.
#[derive(Debug, Clone, Default)]
pub struct UserFormat {
    /// Ids that are integers are numbers in JSON.
    pub ids: UserIds,
    pub openid: bool,
    pub phone: ShownPhone,
    /// Other names of user types.
    pub user_types: BTreeMap<String, String>,
}

/// A user, and how a dialect shows it.
#[derive(Debug, Clone, Copy)]
pub struct UserValues<'a> {
    pub user: &'a User,
    /// Where it was looked up.
    pub openid: Option<&'a OpenId>,
    pub form: &'a UserFormat,
}

impl<'a> UserValues<'a> {
    /// The value of a placeholder of a user; `null` for any other.
    pub fn get(self, placeholder: Placeholder) -> PlaceholderValue<'a> {
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
        match placeholder {
            Placeholder::UserId => self::id(id, self.form.ids),
            Placeholder::UserType => {
                let own = user_type.as_str();
                PlaceholderValue::text(Some(
                    self.form.user_types.get(own).map_or(own, String::as_str),
                ))
            }
            Placeholder::UserName => {
                PlaceholderValue::text(username.as_ref().map(crate::types::Username::as_str))
            }
            Placeholder::UserNickname => PlaceholderValue::text(profile.nickname.as_deref()),
            Placeholder::UserAvatarUrl => PlaceholderValue::text(profile.avatar_url.as_deref()),
            Placeholder::UserBio => PlaceholderValue::text(profile.bio.as_deref()),
            Placeholder::UserBirthday => PlaceholderValue::text(profile.birthday.as_deref()),
            Placeholder::UserPhone => match self.form.phone {
                ShownPhone::Masked => masked(phone),
                ShownPhone::Full => PlaceholderValue::text(phone.map(national)),
            },
            Placeholder::UserPhoneMasked => masked(phone),
            Placeholder::UserOpenid => {
                PlaceholderValue::text(self.openid.filter(|_| self.form.openid).map(OpenId::as_str))
            }
            Placeholder::UserIsStaff => is_staff(user_type),
            Placeholder::UserIsSuperuser => is_superuser(user_type),
            Placeholder::UserRoles => PlaceholderValue::Json(json!(roles)),
            Placeholder::UserCreatedAt => PlaceholderValue::Time(self.user.created_at),
            Placeholder::UserLastLoginAt => PlaceholderValue::Time(self.user.last_login_at),
            _ => PlaceholderValue::Null,
        }
    }
}

/// An id; a number if ids are integers, unless it is too large for the numbers of JSON.
pub(super) fn id(id: &UserId, ids: UserIds) -> PlaceholderValue<'_> {
    match id
        .as_str()
        .parse()
        .ok()
        .filter(|_| ids == UserIds::Integer)
        .map(PlaceholderValue::count)
    {
        None | Some(PlaceholderValue::Null) => PlaceholderValue::text(Some(id.as_str())),
        Some(number) => number,
    }
}

pub(super) fn is_staff(user_type: &UserType) -> PlaceholderValue<'static> {
    PlaceholderValue::Bool(*user_type == UserType::admin())
}

pub(super) fn is_superuser(user_type: &UserType) -> PlaceholderValue<'static> {
    if *user_type == UserType::admin() {
        PlaceholderValue::Bool(true)
    } else {
        PlaceholderValue::Null
    }
}

fn masked(phone: Option<&Phone>) -> PlaceholderValue<'_> {
    phone.map_or(PlaceholderValue::Null, |phone| {
        PlaceholderValue::owned(phone.masked())
    })
}

/// A phone number as such backends store it: without the country code in mainland China, else
/// E.164.
pub fn national(phone: &Phone) -> &str {
    phone.mainland_number().unwrap_or(phone.as_str())
}

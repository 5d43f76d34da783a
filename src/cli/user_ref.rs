//! How a command line selects a user.

use std::str::FromStr;

use serde_json::{Value, json};

use super::operator::Operator;
use crate::{
    admin::users::UserRef,
    outbound::AdminError,
    types::{Malformed, Phone, UserId},
};

/// The user argument.
#[derive(Debug, clap::Args)]
pub(super) struct UserArg {
    /// An id, phone:+8613800138000, name:NAME or openid:APPID/OPENID
    pub(super) user: UserSelector,
}

/// An id, or an identity: `phone:+8613800138000`, `name:root`, `openid:APPID/OPENID`.
#[derive(Clone)]
pub(super) enum UserSelector {
    Id(UserId),
    /// The body for `POST /admin/users/find`.
    By(Value),
}

impl UserSelector {
    /// Resolves the id.
    pub(super) async fn id(&self, operator: &Operator) -> Result<UserId, AdminError> {
        match self {
            Self::Id(id) => Ok(id.clone()),
            Self::By(wanted) => Ok(operator
                .post::<UserRef>("/admin/users/find", wanted)
                .await?
                .id),
        }
    }
}

impl FromStr for UserSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let message = "must be a user's id, phone:+8613800138000, name:NAME or openid:APPID/OPENID";
        // An id has no colon.
        match text.split_once(':') {
            None => UserId::parse(text)
                .map(Self::Id)
                .map_err(|_| message.to_owned()),
            Some(("phone", number)) => match Phone::parse_any(number) {
                Ok(_) => Ok(Self::By(json!({ "phone": number }))),
                Err(Malformed(message)) => Err(message.to_owned()),
            },
            Some(("name", name)) => Ok(Self::By(json!({ "username": name }))),
            Some(("openid", pair)) => {
                let (app_id, openid) = pair.split_once('/').ok_or(message)?;
                Ok(Self::By(
                    json!({ "openid": { "app_id": app_id, "openid": openid } }),
                ))
            }
            Some(_) => Err(message.to_owned()),
        }
    }
}

/// A phone, name or openid is personal and does not print.
impl std::fmt::Debug for UserSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => std::fmt::Debug::fmt(id, f),
            Self::By(_) => f.write_str("***"),
        }
    }
}

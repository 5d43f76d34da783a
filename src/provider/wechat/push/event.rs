//! Events about a user's data.

use serde_json::{Map, Value, json};

use super::{rejection::PushRejection, xml};
use crate::{
    crypto,
    types::{AppId, OpenId, Timestamp},
};

/// Most kinds of data in one push.
const MAX_KINDS: usize = 100;
/// Nickname and avatar, and the phone number.
const STORED_KINDS: [u16; 2] = [6, 8];

/// A push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushMessage {
    Authorization(AuthorizationEvent),
    /// Another event or message, which is ignored.
    Other,
}

/// A withdrawal of consent.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationEvent {
    pub app_id: AppId,
    pub openid: OpenId,
    pub change: AuthorizationChange,
    /// The time of the event, by WeChat.
    pub at: Timestamp,
    /// Of the whole event, in any encoding: distinguishes a repeat from another event.
    pub digest: [u8; 32],
}

/// Prints no personal data.
impl std::fmt::Debug for AuthorizationEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizationEvent")
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

/// What was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationChange {
    /// `user_info_modified`: WeChat has removed an unacceptable nickname or avatar.
    ProfileCleaned,
    /// `user_authorization_revoke`: these kinds of data, by WeChat's numbers (6 nickname and
    /// avatar, 8 phone number, 19 nickname typed with the keyboard, 20 chosen avatar; menshen
    /// stores no others). `None`: not specified.
    Revoked(Option<Vec<u16>>),
    /// `user_authorization_cancellation`: the user has deleted the account.
    Cancelled,
}

impl AuthorizationChange {
    /// WeChat's name for it; also a metric label.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ProfileCleaned => "user_info_modified",
            Self::Revoked(_) => "user_authorization_revoke",
            Self::Cancelled => "user_authorization_cancellation",
        }
    }
}

/// Parses a message to this mini program. An unsigned body has to name the mini program itself.
pub(super) fn read(
    message: &[u8],
    app: &AppId,
    is_signed: bool,
) -> Result<PushMessage, PushRejection> {
    let fields = fields(message).ok_or(PushRejection::Unreadable)?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    match text("AppID") {
        Some(named) if named == app.as_str() => {}
        None if is_signed => {}
        Some(_) => return Err(PushRejection::OtherApp),
        None => return Ok(PushMessage::Other),
    }
    let change = match text("Event") {
        Some("user_info_modified") => AuthorizationChange::ProfileCleaned,
        Some("user_authorization_revoke") => {
            AuthorizationChange::Revoked(revoked(fields.get("RevokeInfo")))
        }
        Some("user_authorization_cancellation") => AuthorizationChange::Cancelled,
        Some(_) | None => return Ok(PushMessage::Other),
    };
    let openid = text("OpenID")
        .and_then(|openid| OpenId::parse(openid).ok())
        .ok_or(PushRejection::Unreadable)?;
    let at = fields
        .get("CreateTime")
        .and_then(seconds)
        .ok_or(PushRejection::Unreadable)?;
    let digest = digest(app, &openid, &change, at);
    Ok(PushMessage::Authorization(AuthorizationEvent {
        app_id: app.clone(),
        openid,
        change,
        at,
        digest,
    }))
}

/// Over a JSON list, so that no two events give one text.
fn digest(app: &AppId, openid: &OpenId, change: &AuthorizationChange, at: Timestamp) -> [u8; 32] {
    let kinds = match change {
        AuthorizationChange::Revoked(kinds) => kinds.as_deref(),
        AuthorizationChange::ProfileCleaned | AuthorizationChange::Cancelled => None,
    };
    let event = json!([
        app.as_str(),
        openid.as_str(),
        change.name(),
        at.as_secs(),
        kinds
    ]);
    crypto::sha256(event.to_string().as_bytes())
}

fn fields(message: &[u8]) -> Option<Map<String, Value>> {
    match message.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(message).ok(),
        Some(_) => Some(
            xml::fields(message)?
                .into_iter()
                .map(|(name, text)| (name, Value::String(text)))
                .collect(),
        ),
        None => None,
    }
}

/// Seconds since 1970, as a number or a text.
fn seconds(value: &Value) -> Option<Timestamp> {
    let seconds = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    seconds.map(Timestamp::from_secs)
}

/// The kinds in `RevokeInfo`; `None` where it is absent or empty. An unreadable list means all
/// kinds that menshen stores: perhaps more than was meant, but no account is deleted over a
/// spelling.
fn revoked(info: Option<&Value>) -> Option<Vec<u16>> {
    let info = info.filter(|info| {
        !info.is_null() && info.as_str().is_none_or(|text| !text.trim().is_empty())
    })?;
    Some(kinds(info).unwrap_or_else(|| STORED_KINDS.to_vec()))
}

/// `8`, or several separated by commas.
fn kinds(info: &Value) -> Option<Vec<u16>> {
    match info {
        Value::Number(number) => Some(vec![u16::try_from(number.as_u64()?).ok()?]),
        Value::String(text) => {
            let kinds: Vec<u16> = text
                .split(',')
                .map(|kind| kind.trim().parse().ok())
                .collect::<Option<_>>()?;
            (kinds.len() <= MAX_KINDS).then_some(kinds)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

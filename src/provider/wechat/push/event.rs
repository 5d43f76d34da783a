//! The events that are about somebody's data.

use serde_json::{Map, Value, json};

use super::{rejection::PushRejection, xml};
use crate::{
    crypto,
    types::{AppId, OpenId, Timestamp},
};

/// Most kinds of data that one push names.
const MAX_KINDS: usize = 100;
/// Nickname and avatar, and the phone number.
const STORED_KINDS: [u16; 2] = [6, 8];

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushMessage {
    Authorization(AuthorizationEvent),
    /// Some other event or message, for which nothing is to be done.
    Other,
}

/// Somebody has taken something back.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationEvent {
    pub app_id: AppId,
    pub openid: OpenId,
    pub change: AuthorizationChange,
    /// The time of the event, by WeChat.
    pub at: Timestamp,
    /// Of all that the event says, in whatever form: tells a repeat from another event.
    pub digest: [u8; 32],
}

/// It is about a person.
impl std::fmt::Debug for AuthorizationEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizationEvent")
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

/// What somebody has taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationChange {
    /// `user_info_modified`: WeChat has cleaned a nickname or avatar that was not fit to be shown.
    ProfileCleaned,
    /// `user_authorization_revoke`: these kinds of data, by WeChat's numbers (6 nickname and
    /// avatar, 8 phone number, 19 nickname typed with the keyboard, 20 chosen avatar; the others
    /// are nothing that menshen has). `None`: it does not say which.
    Revoked(Option<Vec<u16>>),
    /// `user_authorization_cancellation`: the person has left.
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

/// Reads a message to this mini program. Where nobody has signed the body, it has to name the mini
/// program itself.
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

/// A list in JSON, so that no two events are one text.
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

/// What `RevokeInfo` names; `None` where it is not there, or empty. A list that cannot be read
/// means all that menshen has: more than was meant perhaps, but no account is lost over a spelling.
fn revoked(info: Option<&Value>) -> Option<Vec<u16>> {
    let info = info.filter(|info| {
        !info.is_null() && info.as_str().is_none_or(|text| !text.trim().is_empty())
    })?;
    Some(kinds(info).unwrap_or_else(|| STORED_KINDS.to_vec()))
}

/// `8`, or several with commas.
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

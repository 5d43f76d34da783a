//! Parsing WeChat's responses, whatever their Content-Type.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    WechatError,
    api::{Api, CallError},
    object::FromObject,
};
use crate::outbound::OutboundResponse;

/// The members that every response can have.
#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    errcode: ErrcodeMember,
    #[serde(default, deserialize_with = "text_or_nothing")]
    errmsg: String,
}

/// A number, or a number as text; absent and null are 0.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct ErrcodeMember(i64);

/// Parses a success; members that `T` does not have are ignored, WeChat adds some.
pub(super) fn read<T: DeserializeOwned>(
    api: Api,
    answer: &OutboundResponse,
) -> Result<T, CallError> {
    let unreadable = || {
        tracing::warn!(
            wechat.api = api.name(),
            http.status = answer.status.as_u16(),
            body.bytes = answer.body.len(),
            "WeChat's answer cannot be read"
        );
        let is_json = answer.status.is_success()
            && serde_json::from_slice::<IgnoredAny>(&answer.body).is_ok();
        CallError::from(if is_json {
            WechatError::Unusable
        } else {
            WechatError::Broken
        })
    };
    if !answer.status.is_success() {
        return Err(unreadable());
    }
    let FromObject(status) = serde_json::from_slice::<FromObject<ResponseStatus>>(&answer.body)
        .map_err(|_| unreadable())?;
    if status.errcode.0 != 0 {
        return Err(rejection(api, &status));
    }
    serde_json::from_slice::<FromObject<T>>(&answer.body)
        .map(|FromObject(value)| value)
        .map_err(|_| unreadable())
}

/// Classifies and logs an errcode.
fn rejection(api: Api, status: &ResponseStatus) -> CallError {
    let failure = api.classify(status.errcode.0);
    let (name, errcode, rid) = (api.name(), status.errcode.0, request_id(&status.errmsg));
    if failure.class() == WechatError::Misconfigured.class() {
        tracing::error!(
            wechat.api = name,
            errcode,
            rid,
            "WeChat refuses our credentials or request: errcode {errcode} of {name}"
        );
    } else {
        tracing::info!(
            wechat.api = name,
            errcode,
            rid,
            "WeChat refused: errcode {errcode} of {name}"
        );
    }
    failure
}

/// WeChat's id of the request, from `... rid: 6129ee10-...` or `... req_id: uhJD...`; the rest of a
/// message is dropped.
fn request_id(message: &str) -> &str {
    let after = ["rid: ", "req_id: "]
        .iter()
        .find_map(|mark| message.split_once(mark))
        .map_or("", |(_, after)| after);
    let end = after
        .bytes()
        .take(64)
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        .count();
    &after[..end]
}

/// A text; empty when it is null.
pub(super) fn text_or_nothing<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(from).map(Option::unwrap_or_default)
}

impl<'de> Deserialize<'de> for ErrcodeMember {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
            Nothing(()),
            Other(IgnoredAny),
        }
        let wrong = || serde::de::Error::custom("errcode is not a number");
        match Form::deserialize(from)? {
            Form::Number(code) => Ok(Self(code)),
            Form::Text(text) => text.trim().parse().map(Self).map_err(|_| wrong()),
            Form::Nothing(()) => Ok(Self(0)),
            Form::Other(IgnoredAny) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_request_id_of_a_message_is_kept() {
        for (message, kept) in [
            (
                "invalid code, rid: 6129ee10-272863a4-64d75414",
                "6129ee10-272863a4-64d75414",
            ),
            (
                "invalid code, hints: [ req_id: uhJDVZyFe-YZguHA ]",
                "uhJDVZyFe-YZguHA",
            ),
            ("system error", ""),
            ("rid: \r\nforged", ""),
            ("rid: é", ""),
        ] {
            assert_eq!(request_id(message), kept, "{message}");
        }
    }
}

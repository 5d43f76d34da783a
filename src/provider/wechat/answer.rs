//! Reading an answer of `jscode2session`, whatever its Content-Type says.

use reqwest::StatusCode;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{API, WechatError};
use crate::{
    store::WechatIdentity,
    types::{AppId, OpenId, Secret, UnionId},
};

/// What the body says. Fields that are not here are ignored; WeChat adds some.
#[derive(Default, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    errcode: Errcode,
    #[serde(default, deserialize_with = "text_or_nothing")]
    errmsg: String,
    #[serde(default, deserialize_with = "text_or_nothing")]
    openid: String,
    #[serde(default, deserialize_with = "text_or_nothing")]
    unionid: String,
    #[serde(default, deserialize_with = "text_or_nothing")]
    session_key: String,
}

/// A number, or a number as text; absent and null are 0.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Errcode(i64);

impl Answer {
    /// Reads a body. One that cannot be read is an answer with nothing in it.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Self {
        let read = serde_json::from_slice::<Self>(body).ok().filter(|_| status.is_success());
        read.unwrap_or_else(|| {
            tracing::warn!(
                wechat.api = API,
                http.status = status.as_u16(),
                body.bytes = body.len(),
                "WeChat's answer cannot be read"
            );
            Self::default()
        })
    }

    /// The person, or why there is none.
    pub(super) fn into_identity(self, app: &AppId) -> Result<WechatIdentity, WechatError> {
        if self.errcode.0 != 0 {
            let error = WechatError::of(self.errcode.0);
            let (errcode, rid) = (self.errcode.0, request_id(&self.errmsg));
            if error == WechatError::Misconfigured {
                tracing::error!(
                    wechat.api = API,
                    errcode,
                    rid,
                    "WeChat refuses our credentials or request: errcode {errcode}"
                );
            } else {
                tracing::info!(wechat.api = API, errcode, rid, "WeChat refused a login: errcode {errcode}");
            }
            return Err(error);
        }
        let openid = OpenId::parse(&self.openid).map_err(|_| WechatError::Unusable)?;
        let unionid = match self.unionid.as_str() {
            "" => None,
            text => Some(UnionId::parse(text).map_err(|_| WechatError::Unusable)?),
        };
        let session_key = (!self.session_key.is_empty()).then(|| Secret::new(self.session_key));
        Ok(WechatIdentity { app_id: app.clone(), openid, unionid, session_key })
    }
}

/// WeChat's id of the request, from `... rid: 6129ee10-...` or `... req_id: uhJD...`; nothing else of a message is kept.
fn request_id(message: &str) -> &str {
    let after = ["rid: ", "req_id: "].iter().find_map(|mark| message.split_once(mark)).map_or("", |(_, after)| after);
    let end = after.bytes().take(64).take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count();
    &after[..end]
}

/// A text; empty when it is null.
fn text_or_nothing<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(from).map(Option::unwrap_or_default)
}

impl<'de> Deserialize<'de> for Errcode {
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

    fn read(body: &str) -> Result<WechatIdentity, WechatError> {
        Answer::read(StatusCode::OK, body.as_bytes()).into_identity(&AppId::parse("wx1").unwrap())
    }

    #[test]
    fn empty_null_and_missing_unionid_are_the_same() {
        for body in [
            r#"{"openid":"o1","session_key":"k"}"#,
            r#"{"openid":"o1","session_key":"k","unionid":""}"#,
            r#"{"openid":"o1","session_key":"k","unionid":null,"errcode":null}"#,
        ] {
            assert!(read(body).unwrap().unionid.is_none(), "{body}");
        }
        assert_eq!(read(r#"{"openid":"o1","unionid":"u1"}"#).unwrap().unionid.unwrap().as_str(), "u1");
    }

    #[test]
    fn what_is_not_an_answer_is_a_fault() {
        for body in [
            "",
            " ",
            "null",
            "[]",
            "{}",
            "<html>",
            r#"{"openid":""}"#,
            r#"{"openid":"a b"}"#,
            r#"{"openid":1}"#,
            r#"{"openid":"o1","openid":"o2"}"#,
            r#"{"openid":"o1","unionid":"a\r\nb"}"#,
            r#"{"openid":"o1","errcode":{}}"#,
            r#"{"openid":"o1","errcode":1.5}"#,
            r#"{"openid":"o1","errcode":"ok"}"#,
            r#"{"openid":"o1""#,
        ] {
            assert_eq!(read(body).unwrap_err(), WechatError::Unusable, "{body}");
        }
        let fails =
            Answer::read(StatusCode::BAD_GATEWAY, br#"{"openid":"o1"}"#).into_identity(&AppId::parse("wx1").unwrap());
        assert_eq!(fails.unwrap_err(), WechatError::Unusable);
    }

    #[test]
    fn an_openid_beside_an_errcode_signs_nobody_in() {
        assert_eq!(read(r#"{"openid":"o1","errcode":"40029"}"#).unwrap_err(), WechatError::CodeInvalid);
    }

    #[test]
    fn only_the_request_id_of_a_message_is_kept() {
        for (message, kept) in [
            ("invalid code, rid: 6129ee10-272863a4-64d75414", "6129ee10-272863a4-64d75414"),
            ("invalid code, hints: [ req_id: uhJDVZyFe-YZguHA ]", "uhJDVZyFe-YZguHA"),
            ("system error", ""),
            ("rid: \r\nforged", ""),
            ("rid: é", ""),
        ] {
            assert_eq!(request_id(message), kept, "{message}");
        }
    }
}

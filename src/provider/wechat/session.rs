//! `jscode2session`: the identity of a login code.

use std::time::Instant;

use serde::Deserialize;

use super::{
    LiveClient, LoginCode, WechatError, WechatRejection, api::Api, api_client::Request,
    response::text_or_nothing,
};
use crate::{
    store::WechatIdentity,
    types::{AppId, OpenId, Secret, UnionId},
};

const API: Api = Api::CodeToSession;

/// Empty, null and missing are the same.
#[derive(Deserialize)]
struct CodeToSessionResponse {
    #[serde(default, deserialize_with = "text_or_nothing")]
    openid: String,
    #[serde(default, deserialize_with = "text_or_nothing")]
    unionid: String,
    #[serde(default, deserialize_with = "text_or_nothing")]
    session_key: String,
}

impl LiveClient {
    pub(super) async fn code_to_session(
        &self,
        app: &AppId,
        code: &LoginCode,
    ) -> Result<WechatIdentity, WechatRejection> {
        let known = self.app(app)?;
        let mut url = self.api.url(API);
        url.query_pairs_mut()
            .append_pair("appid", known.app_id.as_str())
            .append_pair("secret", known.secret.expose())
            .append_pair("js_code", code.expose())
            .append_pair("grant_type", "authorization_code");
        let deadline = Instant::now() + self.timeout;
        let understand = |answer: CodeToSessionResponse| answer.into_identity(app);
        let answered = self
            .api
            .call(API, &Request::Get(url), deadline, understand)
            .await;
        answered.map_err(|error| error.into_rejection(API))
    }
}

impl CodeToSessionResponse {
    fn into_identity(self, app: &AppId) -> Result<WechatIdentity, WechatError> {
        let openid = OpenId::parse(&self.openid).map_err(|_| WechatError::Unusable)?;
        let unionid = match self.unionid.as_str() {
            "" => None,
            text => Some(UnionId::parse(text).map_err(|_| WechatError::Unusable)?),
        };
        let session_key = (!self.session_key.is_empty()).then(|| Secret::new(self.session_key));
        Ok(WechatIdentity {
            app_id: app.clone(),
            openid,
            unionid,
            session_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::{
        super::{api::CallError, response},
        *,
    };
    use crate::outbound;

    fn read_as(status: StatusCode, body: &str) -> Result<WechatIdentity, WechatError> {
        let response = outbound::OutboundResponse {
            status,
            body: body.to_owned().into(),
        };
        let answer: CodeToSessionResponse = response::read(API, &response)
            .map_err(|error: CallError| error.into_rejection(API).why)?;
        answer.into_identity(&AppId::parse("wx1").unwrap())
    }

    fn read(body: &str) -> Result<WechatIdentity, WechatError> {
        read_as(StatusCode::OK, body)
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
        assert_eq!(
            read(r#"{"openid":"o1","unionid":"u1"}"#)
                .unwrap()
                .unionid
                .unwrap()
                .as_str(),
            "u1"
        );
    }

    #[test]
    fn what_is_not_an_answer_is_a_fault() {
        for body in [
            "",
            " ",
            "<html>",
            r#"{"openid":"o1""#,
            r#"{"openid":"o1"} x"#,
            "'openid'",
        ] {
            assert_eq!(
                read(body).unwrap_err(),
                WechatError::Broken,
                "no JSON: {body}"
            );
        }
        for body in [
            "null",
            "[]",
            r#"["o1"]"#,
            "{}",
            r#"{"openid":""}"#,
            r#"{"openid":"a b"}"#,
            r#"{"openid":1}"#,
            r#"{"openid":"o1","openid":"o2"}"#,
            r#"{"openid":"o1","unionid":"a\r\nb"}"#,
            r#"{"openid":"o1","errcode":{}}"#,
            r#"{"openid":"o1","errcode":1.5}"#,
            r#"{"openid":"o1","errcode":"ok"}"#,
        ] {
            assert_eq!(read(body).unwrap_err(), WechatError::Unusable, "{body}");
        }
        let fails = read_as(StatusCode::BAD_GATEWAY, r#"{"openid":"o1"}"#);
        assert_eq!(fails.unwrap_err(), WechatError::Broken);
    }

    #[test]
    fn an_openid_beside_an_errcode_signs_nobody_in() {
        assert_eq!(
            read(r#"{"openid":"o1","errcode":"40029"}"#).unwrap_err(),
            WechatError::CodeInvalid
        );
    }
}

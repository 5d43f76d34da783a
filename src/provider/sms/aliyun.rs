//! Aliyun: `SendSms` of Dysmsapi, and `SendSmsVerifyCode` of Dypnsapi, both of 2017-05-25.
//!
//! Parameters stand in the query of a `POST` without a body. Not idempotent: what may have been
//! sent is not sent again.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use serde::Deserialize;

use super::{
    Message, SmsSetupError, acs3, endpoint, failed_template, host_of,
    rejection_class::RejectionClass,
    required, required_secret,
    vendor_error::{LogTag, VendorError, VendorRejection},
};
use crate::{
    config::{AliyunConfig, DypnsConfig, JsonTemplate, SecretText},
    crypto::sha256,
    entropy::Entropy,
    outbound::Outbound,
    types::Secret,
};

const VERSION: &str = "2017-05-25";

/// An account with Aliyun, and what it sends.
pub(super) struct Aliyun {
    api: Api,
    outbound: Outbound,
    endpoint: Url,
    access_key_id: String,
    access_key_secret: Secret<String>,
    sign_name: String,
    template_code: String,
    template_param: JsonTemplate,
    entropy: Entropy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    SendSms,
    SendSmsVerifyCode,
}

/// A table of the config, with the names of its keys.
struct Table<'a> {
    access_key_id: (&'static str, &'a Option<String>),
    access_key_secret: (&'static str, &'a Option<SecretText>),
    sign_name: (&'static str, &'a Option<String>),
    template_code: (&'static str, &'a Option<String>),
    template_param: (&'static str, &'a str),
    endpoint: (&'static str, &'a str),
}

/// Every answer; `Code` is there on success too.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    code: String,
    message: Option<String>,
    request_id: Option<String>,
}

impl Aliyun {
    /// `SendSms`.
    pub(super) fn send_sms(config: &AliyunConfig, entropy: Entropy) -> Result<Self, SmsSetupError> {
        let table = Table {
            access_key_id: ("sms.aliyun.access_key_id", &config.access_key_id),
            access_key_secret: ("sms.aliyun.access_key_secret", &config.access_key_secret),
            sign_name: ("sms.aliyun.sign_name", &config.sign_name),
            template_code: ("sms.aliyun.template_code", &config.template_code),
            template_param: ("sms.aliyun.template_param", &config.template_param),
            endpoint: ("sms.aliyun.endpoint", &config.endpoint),
        };
        Self::new(Api::SendSms, &table, entropy)
    }

    /// `SendSmsVerifyCode`, with a code of our own.
    pub(super) fn send_verify_code(
        config: &DypnsConfig,
        entropy: Entropy,
    ) -> Result<Self, SmsSetupError> {
        let table = Table {
            access_key_id: ("sms.dypns.access_key_id", &config.access_key_id),
            access_key_secret: ("sms.dypns.access_key_secret", &config.access_key_secret),
            sign_name: ("sms.dypns.sign_name", &config.sign_name),
            template_code: ("sms.dypns.template_code", &config.template_code),
            template_param: ("sms.dypns.template_param", &config.template_param),
            endpoint: ("sms.dypns.endpoint", &config.endpoint),
        };
        Self::new(Api::SendSmsVerifyCode, &table, entropy)
    }

    fn new(api: Api, table: &Table<'_>, entropy: Entropy) -> Result<Self, SmsSetupError> {
        let endpoint = endpoint(table.endpoint)?;
        Ok(Self {
            api,
            outbound: Outbound::new(&endpoint)?,
            endpoint,
            access_key_id: required(table.access_key_id)?,
            access_key_secret: required_secret(table.access_key_secret)?,
            sign_name: required(table.sign_name)?,
            template_code: required(table.template_code)?,
            template_param: table
                .template_param
                .1
                .parse()
                .map_err(failed_template(table.template_param.0))?,
            entropy,
        })
    }

    pub(super) async fn send(
        &self,
        message: &Message<'_>,
        limit: Duration,
    ) -> Result<(), VendorError> {
        let answer = self.outbound.send(self.request(message)?, limit).await?;
        // The status says nothing: a wrong key is a 404.
        let Ok(said) = serde_json::from_slice::<Answer>(answer.body()) else {
            return Err(VendorError::UnreadableResponse(answer.status()));
        };
        if said.code == "OK" {
            return Ok(());
        }
        let text = said.message.unwrap_or_default();
        let class = match self.api {
            Api::SendSms => RejectionClass::from_aliyun(&said.code, &text),
            Api::SendSmsVerifyCode => RejectionClass::from_dypns(&said.code, &text),
        };
        let request_id = LogTag::new(&said.request_id.unwrap_or_default());
        Err(VendorError::Rejected(VendorRejection {
            class,
            code: LogTag::new(&said.code),
            request_id,
        }))
    }

    fn request(&self, message: &Message<'_>) -> Result<http::Request<Bytes>, VendorError> {
        let query = self.query(message);
        let host = host_of(&self.endpoint);
        let (nonce, date) = (
            hex::encode(self.entropy.bytes::<16>()?),
            message.now.rfc3339(),
        );
        let no_body = hex::encode(sha256(b""));
        let headers = [
            ("host", host.as_str()),
            ("x-acs-action", self.api.action()),
            ("x-acs-content-sha256", no_body.as_str()),
            ("x-acs-date", date.as_str()),
            ("x-acs-signature-nonce", nonce.as_str()),
            ("x-acs-version", VERSION),
        ];
        let signed = acs3::authorization(
            &self.access_key_id,
            self.access_key_secret.expose(),
            &query,
            &headers,
            b"",
        );
        let mut request =
            http::Request::post(format!("{}://{host}/?{query}", self.endpoint.scheme()));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .header("authorization", signed)
            .header("accept", "application/json")
            // RFC 9110 section 8.6: a `POST` says so when it has no body; some gateways insist.
            // hyper leaves it out.
            .header("content-length", "0");
        Ok(request.body(Bytes::new())?)
    }

    fn query(&self, message: &Message<'_>) -> String {
        let parameter = self.template_param.fill(message.filling());
        // A number in mainland China goes without its country code, any other with it and without
        // `+`.
        let number = message
            .phone
            .mainland_number()
            .unwrap_or_else(|| message.phone.as_str().trim_start_matches('+'));
        let phone = match self.api {
            Api::SendSms => "PhoneNumbers",
            Api::SendSmsVerifyCode => "PhoneNumber",
        };
        acs3::canonical_query([
            (phone, number),
            ("SignName", &self.sign_name),
            ("TemplateCode", &self.template_code),
            ("TemplateParam", &parameter),
            ("OutId", message.id),
        ])
    }
}

impl Api {
    const fn action(self) -> &'static str {
        match self {
            Self::SendSms => "SendSms",
            Self::SendSmsVerifyCode => "SendSmsVerifyCode",
        }
    }
}

//! Aliyun: `SendSms` of Dysmsapi, and `SendSmsVerifyCode` of Dypnsapi, both of 2017-05-25.
//!
//! Parameters are in the query of a `POST` without a body. Not idempotent: a message that may have
//! been sent is not sent again.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::{
    acs3,
    endpoint::Endpoint,
    error::SmsSetupError,
    message::SmsMessage,
    rejection_class::RejectionClass,
    settings::{failed_template, required, required_secret},
    vendor_error::VendorError,
};
use crate::{
    config::{AliyunConfig, DypnsConfig, JsonTemplate, SecretText},
    crypto::sha256,
    entropy::Entropy,
    types::Secret,
};

const VERSION: &str = "2017-05-25";

/// An account with Aliyun, and the template of its messages.
pub(super) struct Aliyun {
    api: AliyunApi,
    endpoint: Endpoint,
    access_key_id: String,
    access_key_secret: Secret<String>,
    sign_name: String,
    template_code: String,
    template_param: JsonTemplate,
    entropy: Entropy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AliyunApi {
    SendSms,
    SendSmsVerifyCode,
}

/// A table of the config, with its keys.
struct AliyunTable<'a> {
    access_key_id: (&'static str, &'a Option<String>),
    access_key_secret: (&'static str, &'a Option<SecretText>),
    sign_name: (&'static str, &'a Option<String>),
    template_code: (&'static str, &'a Option<String>),
    template_param: (&'static str, &'a str),
    endpoint: (&'static str, &'a str),
}

/// Every response; `Code` is present on success too.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AliyunResponse {
    code: String,
    message: Option<String>,
    request_id: Option<String>,
}

impl Aliyun {
    /// `SendSms`.
    pub(super) fn send_sms(config: &AliyunConfig, entropy: Entropy) -> Result<Self, SmsSetupError> {
        let table = AliyunTable {
            access_key_id: ("sms.aliyun.access_key_id", &config.access_key_id),
            access_key_secret: ("sms.aliyun.access_key_secret", &config.access_key_secret),
            sign_name: ("sms.aliyun.sign_name", &config.sign_name),
            template_code: ("sms.aliyun.template_code", &config.template_code),
            template_param: ("sms.aliyun.template_param", &config.template_param),
            endpoint: ("sms.aliyun.endpoint", &config.endpoint),
        };
        Self::new(AliyunApi::SendSms, &table, entropy)
    }

    /// `SendSmsVerifyCode`, with menshen's own code.
    pub(super) fn send_verify_code(
        config: &DypnsConfig,
        entropy: Entropy,
    ) -> Result<Self, SmsSetupError> {
        let table = AliyunTable {
            access_key_id: ("sms.dypns.access_key_id", &config.access_key_id),
            access_key_secret: ("sms.dypns.access_key_secret", &config.access_key_secret),
            sign_name: ("sms.dypns.sign_name", &config.sign_name),
            template_code: ("sms.dypns.template_code", &config.template_code),
            template_param: ("sms.dypns.template_param", &config.template_param),
            endpoint: ("sms.dypns.endpoint", &config.endpoint),
        };
        Self::new(AliyunApi::SendSmsVerifyCode, &table, entropy)
    }

    fn new(
        api: AliyunApi,
        table: &AliyunTable<'_>,
        entropy: Entropy,
    ) -> Result<Self, SmsSetupError> {
        Ok(Self {
            api,
            endpoint: Endpoint::new(table.endpoint)?,
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
        message: &SmsMessage<'_>,
        limit: Duration,
    ) -> Result<(), VendorError> {
        let response = self.endpoint.send(self.request(message)?, limit).await?;
        // The status is useless: it is 404 for a wrong key.
        let Ok(body) = serde_json::from_slice::<AliyunResponse>(response.body()) else {
            return Err(VendorError::UnreadableResponse(response.status()));
        };
        if body.code == "OK" {
            return Ok(());
        }
        let text = body.message.unwrap_or_default();
        let class = match self.api {
            AliyunApi::SendSms => RejectionClass::from_aliyun(&body.code, &text),
            AliyunApi::SendSmsVerifyCode => RejectionClass::from_dypns(&body.code, &text),
        };
        let request_id = body.request_id.unwrap_or_default();
        Err(VendorError::rejected(class, &body.code, &request_id))
    }

    fn request(&self, message: &SmsMessage<'_>) -> Result<http::Request<Bytes>, VendorError> {
        let query = self.query(message);
        let (nonce, date) = (
            hex::encode(self.entropy.bytes::<16>()?),
            message.now.rfc3339(),
        );
        let no_body = hex::encode(sha256(b""));
        let headers = [
            ("host", self.endpoint.host()),
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
        let request = self
            .endpoint
            .post(&format!("/?{query}"), &headers, signed)
            .header("accept", "application/json")
            // RFC 9110 section 8.6: a `POST` says so when it has no body; some gateways insist.
            // hyper leaves it out.
            .header("content-length", "0");
        Ok(request.body(Bytes::new())?)
    }

    fn query(&self, message: &SmsMessage<'_>) -> String {
        let parameter = self.template_param.fill(message.values());
        // A number in mainland China is sent without its country code, any other with it and
        // without `+`.
        let number = message
            .phone
            .mainland_number()
            .unwrap_or_else(|| message.phone.as_str().trim_start_matches('+'));
        let phone = match self.api {
            AliyunApi::SendSms => "PhoneNumbers",
            AliyunApi::SendSmsVerifyCode => "PhoneNumber",
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

impl AliyunApi {
    const fn action(self) -> &'static str {
        match self {
            Self::SendSms => "SendSms",
            Self::SendSmsVerifyCode => "SendSmsVerifyCode",
        }
    }
}

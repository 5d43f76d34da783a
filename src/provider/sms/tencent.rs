//! Tencent Cloud: `SendSms` of 2021-01-11.
//!
//! Rejections are in two places, `Response.Error` for the call and `SendStatusSet` for the number,
//! always with HTTP 200.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    endpoint::Endpoint,
    error::SmsSetupError,
    message::SmsMessage,
    rejection_class::RejectionClass,
    settings::{failed_template, required, required_secret},
    tc3,
    vendor_error::VendorError,
};
use crate::{
    config::{Template, TencentConfig},
    types::Secret,
};

const ACTION: &str = "SendSms";
const VERSION: &str = "2021-01-11";
/// The service in the scope of a signature.
const SERVICE: &str = "sms";
const CONTENT_TYPE: &str = "application/json; charset=utf-8";

/// An account with Tencent Cloud, and the template of its messages.
pub(super) struct Tencent {
    endpoint: Endpoint,
    secret_id: String,
    secret_key: Secret<String>,
    sdk_app_id: String,
    sign_name: String,
    template_id: String,
    template_params: Vec<Template>,
    region: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TencentRequest<'a> {
    phone_number_set: [&'a str; 1],
    sms_sdk_app_id: &'a str,
    sign_name: &'a str,
    template_id: &'a str,
    template_param_set: Vec<String>,
    /// Returned in Tencent's delivery records.
    session_context: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TencentResponse {
    response: TencentResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TencentResult {
    error: Option<TencentStatus>,
    send_status_set: Option<Vec<TencentStatus>>,
    request_id: Option<String>,
}

/// The result of the call, or of one number.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TencentStatus {
    code: String,
}

impl Tencent {
    pub(super) fn new(config: &TencentConfig) -> Result<Self, SmsSetupError> {
        let parameters = config.template_params.iter().map(|text| text.parse());
        Ok(Self {
            endpoint: Endpoint::new(("sms.tencent.endpoint", &config.endpoint))?,
            secret_id: required(("sms.tencent.secret_id", &config.secret_id))?,
            secret_key: required_secret(("sms.tencent.secret_key", &config.secret_key))?,
            sdk_app_id: required(("sms.tencent.sdk_app_id", &config.sdk_app_id))?,
            sign_name: required(("sms.tencent.sign_name", &config.sign_name))?,
            template_id: required(("sms.tencent.template_id", &config.template_id))?,
            template_params: parameters
                .collect::<Result<_, _>>()
                .map_err(failed_template("sms.tencent.template_params"))?,
            region: config.region.clone(),
        })
    }

    pub(super) async fn send(
        &self,
        message: &SmsMessage<'_>,
        limit: Duration,
    ) -> Result<(), VendorError> {
        let http_response = self.endpoint.send(self.request(message)?, limit).await?;
        let Ok(TencentResponse { response }) = serde_json::from_slice(http_response.body()) else {
            return Err(VendorError::UnreadableResponse(http_response.status()));
        };
        let of_number = response
            .send_status_set
            .and_then(|set| set.into_iter().next());
        let code = match (response.error, of_number) {
            (None, Some(TencentStatus { code })) if code == "Ok" => return Ok(()),
            (Some(TencentStatus { code }), _) | (None, Some(TencentStatus { code })) => code,
            (None, None) => return Err(VendorError::UnreadableResponse(http_response.status())),
        };
        let request_id = response.request_id.unwrap_or_default();
        let class = RejectionClass::from_tencent(&code);
        Err(VendorError::rejected(class, &code, &request_id))
    }

    fn request(&self, message: &SmsMessage<'_>) -> Result<http::Request<Bytes>, VendorError> {
        let body = TencentRequest {
            phone_number_set: [message.phone.as_str()],
            sms_sdk_app_id: &self.sdk_app_id,
            sign_name: &self.sign_name,
            template_id: &self.template_id,
            template_param_set: self
                .template_params
                .iter()
                .map(|template| template.fill(message.values()))
                .collect(),
            session_context: message.id,
        };
        let body = serde_json::to_vec(&body).map_err(|_| VendorError::RequestNotBuilt)?;
        let headers = [
            ("content-type", CONTENT_TYPE),
            ("host", self.endpoint.host()),
            ("x-tc-action", ACTION),
        ];
        let (id, key) = (&self.secret_id, self.secret_key.expose());
        let signed = tc3::authorization(id, key, SERVICE, &headers, &body, message.now);
        let request = self
            .endpoint
            .post("/", &headers, signed)
            .header("x-tc-version", VERSION)
            .header("x-tc-timestamp", message.now.as_secs())
            .header("x-tc-region", &self.region);
        Ok(request.body(body.into())?)
    }
}

//! Tencent Cloud: `SendSms` of 2021-01-11.
//!
//! It says no in two places, `Response.Error` for the call and `SendStatusSet` for the number,
//! always with HTTP 200.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{
    Message, SmsSetupError, endpoint, failed_template, host_of,
    rejection_class::RejectionClass,
    required, required_secret, tc3,
    vendor_error::{LogTag, VendorError, VendorRejection},
};
use crate::{
    config::{Template, TencentConfig},
    outbound::Outbound,
    types::Secret,
};

const ACTION: &str = "SendSms";
const VERSION: &str = "2021-01-11";
/// Its name in the scope of a signature.
const SERVICE: &str = "sms";
const CONTENT_TYPE: &str = "application/json; charset=utf-8";

/// An account with Tencent Cloud, and what it sends.
pub(super) struct Tencent {
    outbound: Outbound,
    endpoint: Url,
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
struct Body<'a> {
    phone_number_set: [&'a str; 1],
    sms_sdk_app_id: &'a str,
    sign_name: &'a str,
    template_id: &'a str,
    template_param_set: Vec<String>,
    /// Comes back in their records of what was sent.
    session_context: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    response: Response,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    error: Option<Status>,
    send_status_set: Option<Vec<Status>>,
    request_id: Option<String>,
}

/// How the call went, or one number of it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    code: String,
}

impl Tencent {
    pub(super) fn new(config: &TencentConfig) -> Result<Self, SmsSetupError> {
        let endpoint = endpoint(("sms.tencent.endpoint", &config.endpoint))?;
        let parameters = config.template_params.iter().map(|text| text.parse());
        Ok(Self {
            outbound: Outbound::new(&endpoint)?,
            endpoint,
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
        message: &Message<'_>,
        limit: Duration,
    ) -> Result<(), VendorError> {
        let answer = self.outbound.send(self.request(message)?, limit).await?;
        let Ok(Answer { response }) = serde_json::from_slice(answer.body()) else {
            return Err(VendorError::UnreadableResponse(answer.status()));
        };
        let of_number = response
            .send_status_set
            .and_then(|set| set.into_iter().next());
        let code = match (response.error, of_number) {
            (None, Some(Status { code })) if code == "Ok" => return Ok(()),
            (Some(Status { code }), _) | (None, Some(Status { code })) => code,
            (None, None) => return Err(VendorError::UnreadableResponse(answer.status())),
        };
        let request_id = LogTag::new(&response.request_id.unwrap_or_default());
        Err(VendorError::Rejected(VendorRejection {
            class: RejectionClass::from_tencent(&code),
            code: LogTag::new(&code),
            request_id,
        }))
    }

    fn request(&self, message: &Message<'_>) -> Result<http::Request<Bytes>, VendorError> {
        let body = Body {
            phone_number_set: [message.phone.as_str()],
            sms_sdk_app_id: &self.sdk_app_id,
            sign_name: &self.sign_name,
            template_id: &self.template_id,
            template_param_set: self
                .template_params
                .iter()
                .map(|template| template.fill(message.filling()))
                .collect(),
            session_context: message.id,
        };
        let body = serde_json::to_vec(&body).map_err(|_| VendorError::RequestNotBuilt)?;
        let host = host_of(&self.endpoint);
        let headers = [
            ("content-type", CONTENT_TYPE),
            ("host", &host),
            ("x-tc-action", ACTION),
        ];
        let (id, key) = (&self.secret_id, self.secret_key.expose());
        let signed = tc3::authorization(id, key, SERVICE, &headers, &body, message.now);
        let mut request = http::Request::post(format!("{}://{host}/", self.endpoint.scheme()));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .header("authorization", signed)
            .header("x-tc-version", VERSION)
            .header("x-tc-timestamp", message.now.as_secs())
            .header("x-tc-region", &self.region);
        Ok(request.body(body.into())?)
    }
}

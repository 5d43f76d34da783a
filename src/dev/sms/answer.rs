//! The vendors' responses, as published.

use axum::{
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::config::SmsProvider;

/// The message was accepted.
pub(super) fn success(provider: SmsProvider) -> Response {
    match provider {
        SmsProvider::Aliyun => json!({
            "Code": "OK", "Message": "OK", "BizId": "900619746936498449^0", "RequestId": "F655A8D5-B967-440B-8683-DAD6FF8DE990",
        }),
        SmsProvider::Dypns => json!({
            "Code": "OK", "Message": "成功", "Success": true, "AccessDeniedDetail": "无",
            "Model": { "BizId": "112231421412414124123^4", "OutId": "1", "RequestId": "a3671ccf-0102-4c8e-8797-a3678e091d09" },
        }),
        SmsProvider::Tencent => json!({ "Response": {
            "SendStatusSet": [{
                "SerialNo": "5000:1045710669157053657849499619", "PhoneNumber": "+8618501234444", "Fee": 1,
                "SessionContext": "", "Code": "Ok", "Message": "send success", "IsoCode": "CN",
            }],
            "RequestId": "a0aabda6-cf91-4f3e-a81f-9198114a2279",
        } }),
        SmsProvider::Webhook | SmsProvider::Log => json!({}),
    }
    .to_string()
    .into_response()
}

/// The message was rejected with this code; for a webhook it is the status.
pub(super) fn rejection(provider: SmsProvider, code: &str, message: &str) -> Response {
    match provider {
        SmsProvider::Aliyun | SmsProvider::Dypns => {
            let said = json!({ "Code": code, "Message": message, "RequestId": "C0A0BE93-B44F-4350-BCC8-B677F78C3802" });
            // The gateway in front of the API has statuses; the API itself says 200.
            let status = match code {
                "InvalidAccessKeyId.NotFound" => StatusCode::NOT_FOUND,
                "SignatureDoesNotMatch" | "InvalidTimeStamp.Expired" | "SignatureNonceUsed" => {
                    StatusCode::BAD_REQUEST
                }
                _ => StatusCode::OK,
            };
            (status, said.to_string()).into_response()
        }
        SmsProvider::Tencent => {
            let is_number_code =
                code.starts_with("LimitExceeded.") || code.starts_with("FailedOperation.");
            let request_id = "ed93f3cb-f35e-473f-b9f3-0d451b8b79c6";
            let said = if is_number_code {
                let status = json!({ "SerialNo": "", "Fee": 0, "Code": code, "Message": message, "IsoCode": "CN" });
                json!({ "Response": { "SendStatusSet": [status], "RequestId": request_id } })
            } else {
                json!({ "Response": { "Error": { "Code": code, "Message": message }, "RequestId": request_id } })
            };
            said.to_string().into_response()
        }
        SmsProvider::Webhook | SmsProvider::Log => (
            status(code.parse().unwrap_or(500)),
            [("retry-after", "17")],
            message.to_owned(),
        )
            .into_response(),
    }
}

/// A rejection that echoes the whole request, as for an unknown key.
pub(super) fn echo(provider: SmsProvider, head: &Parts, body: &[u8]) -> Response {
    let all = format!(
        "server string to sign is: {} {:?} {}",
        head.uri,
        head.headers,
        String::from_utf8_lossy(body)
    );
    let code = match provider {
        SmsProvider::Aliyun | SmsProvider::Dypns => "InvalidAccessKeyId.NotFound",
        SmsProvider::Tencent => "AuthFailure.SignatureFailure",
        SmsProvider::Webhook | SmsProvider::Log => "404",
    };
    let mut answer = rejection(provider, code, &all);
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

/// A status by its number; 500 for an invalid one.
pub(super) fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

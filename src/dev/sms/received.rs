//! Parses the message of a request, as strictly as the vendor does.

use axum::http::request::Parts;
use serde_json::Value;

use super::{
    account::{SIGN_NAME, TEMPLATE},
    signature::{header, query},
};
use crate::config::SmsProvider;

/// A message on a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// The vendor that sent it.
    pub provider: SmsProvider,
    /// In E.164 form.
    pub phone: String,
    pub code: String,
    /// The validity of the code in the text, in minutes; empty where the template has none.
    pub minutes: String,
    /// The message id that menshen chose.
    pub id: String,
}

/// The parameters of `SendSms` and `SendSmsVerifyCode`.
pub(super) fn aliyun(provider: SmsProvider, head: &Parts) -> Result<SentMessage, &'static str> {
    let sent = query(head);
    let of = |name: &str| sent.get(name).map_or("", String::as_str);
    // A gateway answers 411 to a POST without a length.
    if header(head, "content-length") != Some("0") {
        return Err("MissingContentLength");
    }
    if header(head, "x-acs-version") != Some("2017-05-25") {
        return Err("InvalidVersion");
    }
    if of("SignName") != SIGN_NAME {
        return Err("isv.SMS_SIGNATURE_ILLEGAL");
    }
    if of("TemplateCode") != TEMPLATE {
        return Err("isv.SMS_TEMPLATE_ILLEGAL");
    }
    let number = if provider == SmsProvider::Aliyun {
        of("PhoneNumbers")
    } else {
        of("PhoneNumber")
    };
    let phone = match (number.len(), provider) {
        (11, _) if number.starts_with('1') => format!("+86{number}"),
        (8.., SmsProvider::Aliyun) => format!("+{number}"),
        _ => return Err("isv.MOBILE_NUMBER_ILLEGAL"),
    };
    let parameter: Value =
        serde_json::from_str(of("TemplateParam")).map_err(|_| "isv.INVALID_JSON_PARAM")?;
    let minutes = parameter["min"].as_str().unwrap_or_default();
    if provider == SmsProvider::Dypns && minutes.is_empty() {
        return Err("isv.TEMPLATE_MISSING_PARAMETERS");
    }
    Ok(SentMessage {
        provider,
        phone,
        code: parameter["code"]
            .as_str()
            .ok_or("isv.TEMPLATE_MISSING_PARAMETERS")?
            .to_owned(),
        minutes: minutes.to_owned(),
        id: of("OutId").to_owned(),
    })
}

/// The body of Tencent Cloud's `SendSms`.
pub(super) fn tencent(head: &Parts, body: &[u8]) -> Result<SentMessage, &'static str> {
    let sent: Value = serde_json::from_slice(body).map_err(|_| "FailedOperation.JsonParseFail")?;
    let is_ours =
        header(head, "x-tc-version") == Some("2021-01-11") && header(head, "x-tc-region").is_some();
    if !is_ours || sent["SmsSdkAppId"] != "1400006666" {
        return Err("InvalidParameterValue.SdkAppIdNotExist");
    }
    if sent["SignName"] != SIGN_NAME {
        return Err("FailedOperation.SignatureIncorrectOrUnapproved");
    }
    if sent["TemplateId"] != TEMPLATE {
        return Err("FailedOperation.TemplateIncorrectOrUnapproved");
    }
    let text = |at: &str| sent.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let missing = "InvalidParameterValue.TemplateParameterFormatError";
    Ok(SentMessage {
        provider: SmsProvider::Tencent,
        phone: text("/PhoneNumberSet/0").ok_or("MissingParameter.EmptyPhoneNumberSet")?,
        code: text("/TemplateParamSet/0").ok_or(missing)?,
        minutes: text("/TemplateParamSet/1").ok_or(missing)?,
        id: text("/SessionContext").unwrap_or_default(),
    })
}

/// The body that menshen posts.
pub(super) fn webhook(head: &Parts, body: &[u8]) -> Result<SentMessage, &'static str> {
    let sent: Value = serde_json::from_slice(body).map_err(|_| "400")?;
    let text = |name: &str| sent[name].as_str().map(str::to_owned).ok_or("422");
    let id = text("id")?;
    let is_known_purpose = matches!(text("purpose")?.as_str(), "login" | "bind");
    if header(head, "idempotency-key") != Some(id.as_str()) || !is_known_purpose {
        return Err("422");
    }
    let minutes = (sent["expires_in"].as_u64().ok_or("422")? / 60).to_string();
    Ok(SentMessage {
        provider: SmsProvider::Webhook,
        phone: text("phone")?,
        code: text("code")?,
        minutes,
        id,
    })
}

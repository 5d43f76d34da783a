//! Error templates: how a dialect renders rejections.

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{
    placeholder::{Placeholder, PlaceholderSource, PlaceholderValue},
    template::Template,
    text::Text,
};
use crate::{error::ErrorCode, types::Timestamp};

/// Subcodes, which a config can use like error codes: each is a special case of one.
pub(super) const SUBCODES: [&str; 6] = [
    "code_missing",
    "refresh_expired",
    "refresh_wrong_type",
    "wechat_refused",
    "wechat_unreachable",
    "wechat_unusable",
];

/// How some rejections are rendered.
#[derive(Debug, Clone)]
pub(super) struct ErrorTemplate {
    /// Error codes and subcodes; none: all.
    pub(super) codes: Vec<String>,
    pub(super) status: Option<StatusCode>,
    pub(super) headers: Vec<(HeaderName, Text)>,
    pub(super) body: Template,
    pub(super) item: Option<Template>,
}

/// A rejection, before it is rendered.
#[derive(Debug, Clone)]
pub struct DialectRejection<'a> {
    pub code: ErrorCode,
    /// One of [`SUBCODES`], where there is one.
    pub subcode: Option<&'static str>,
    /// The status that goes with the code.
    pub status: StatusCode,
    /// The English text.
    pub detail: &'a str,
    /// Whole seconds.
    pub retry_after: Option<u64>,
    /// WeChat's errcode and its published text.
    pub errcode: Option<(i64, &'static str)>,
    pub fields: Vec<InvalidField>,
    pub request_id: &'a str,
    pub now: Timestamp,
}

/// An invalid field.
#[derive(Debug, Clone)]
pub struct InvalidField {
    /// The client's name of it.
    pub name: String,
    pub message: String,
    /// As it was sent.
    pub value: Option<Value>,
}

/// A response to a success or a rejection.
#[derive(Debug, Clone)]
pub struct RenderedResponse {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

impl ErrorTemplate {
    /// Whether it is for this rejection.
    pub(super) fn fits(&self, rejection: &DialectRejection<'_>) -> bool {
        self.codes.is_empty() || self.codes.iter().any(|code| rejection.is(code))
    }
}

impl DialectRejection<'_> {
    /// Compares its error code and its subcode.
    fn is(&self, name: &str) -> bool {
        self.code.as_str() == name || self.subcode == Some(name)
    }
}

/// Renders header fields. A field whose value would be invalid is left out.
pub(super) fn render_headers(
    headers: &[(HeaderName, Text)],
    from: &impl PlaceholderSource,
) -> Vec<(HeaderName, HeaderValue)> {
    let rendered = headers.iter().filter_map(|(name, text)| {
        let value = HeaderValue::from_str(&text.render(from)).ok()?;
        Some((name.clone(), value))
    });
    rendered.collect()
}

/// The values of one rejection.
pub(super) struct RejectionValues<'a> {
    pub(super) rejection: &'a DialectRejection<'a>,
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) item: Option<&'a Template>,
}

impl PlaceholderSource for RejectionValues<'_> {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        let DialectRejection {
            code,
            retry_after,
            errcode,
            fields,
            request_id,
            now,
            ..
        } = self.rejection;
        match placeholder {
            Placeholder::Now => PlaceholderValue::Time(*now),
            Placeholder::RequestId => PlaceholderValue::text(Some(request_id)),
            Placeholder::Status => PlaceholderValue::Number(self.status.as_u16().into()),
            Placeholder::Reason => PlaceholderValue::text(self.status.canonical_reason()),
            Placeholder::Code => PlaceholderValue::text(Some(code.as_str())),
            Placeholder::Message => PlaceholderValue::text(Some(&self.message)),
            Placeholder::RetryAfter => {
                retry_after.map_or(PlaceholderValue::Null, PlaceholderValue::count)
            }
            Placeholder::RetryAfterSeconds => match retry_after {
                None => PlaceholderValue::Null,
                Some(1) => PlaceholderValue::text(Some("1 second")),
                Some(secs) => PlaceholderValue::owned(format!("{secs} seconds")),
            },
            Placeholder::WechatErrcode => errcode.map_or(PlaceholderValue::Null, |(errcode, _)| {
                PlaceholderValue::Number(errcode)
            }),
            Placeholder::WechatErrmsg => PlaceholderValue::text(errcode.map(|(_, errmsg)| errmsg)),
            Placeholder::Errors => self.item.map_or(PlaceholderValue::Null, |item| {
                PlaceholderValue::RawJson(listed(item, fields))
            }),
            Placeholder::ErrorsByField => PlaceholderValue::RawJson(by_field(fields)),
            _ => PlaceholderValue::Null,
        }
    }
}

/// `[item, item]`
fn listed(item: &Template, fields: &[InvalidField]) -> String {
    let items: Vec<_> = fields
        .iter()
        .map(|field| String::from_utf8(item.render(field)).unwrap_or_default())
        .collect();
    format!("[{}]", items.join(","))
}

/// `{"name":["message","message"]}`, in the order in which the fields were found invalid.
fn by_field(fields: &[InvalidField]) -> String {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for field in fields {
        match all.iter_mut().find(|(name, _)| *name == field.name) {
            Some((_, messages)) => messages.push(&field.message),
            None => all.push((&field.name, vec![&field.message])),
        }
    }
    let members: Vec<_> = all
        .into_iter()
        .map(|(name, messages)| format!("{}:{}", json!(name), json!(messages)))
        .collect();
    format!("{{{}}}", members.join(","))
}

impl PlaceholderSource for InvalidField {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        match placeholder {
            Placeholder::FieldName => PlaceholderValue::text(Some(&self.name)),
            Placeholder::FieldMessage => PlaceholderValue::text(Some(&self.message)),
            Placeholder::FieldValue => match &self.value {
                None => PlaceholderValue::Null,
                // A `null` of the client is a value.
                Some(Value::Null) => PlaceholderValue::RawJson("null".to_owned()),
                Some(Value::String(text)) => PlaceholderValue::text(Some(text)),
                Some(other) => PlaceholderValue::Json(other.clone()),
            },
            _ => PlaceholderValue::Null,
        }
    }
}

//! What a refusal looks like in a dialect.

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{
    Dialect, language,
    placeholder::{Placeholder, PlaceholderSource, PlaceholderValue},
    template::Template,
    text::Text,
};
use crate::{config::Language, error::ErrorCode, types::Timestamp};

/// What a config can name that is finer than a wire code.
pub(super) const SUBCODES: [&str; 6] = [
    "code_missing",
    "refresh_expired",
    "refresh_wrong_type",
    "wechat_refused",
    "wechat_unreachable",
    "wechat_unusable",
];

/// The shape of some refusals.
#[derive(Debug, Clone)]
pub(super) struct ErrorTemplate {
    /// Wire codes and finer ones; none: all.
    pub(super) codes: Vec<String>,
    pub(super) status: Option<StatusCode>,
    pub(super) headers: Vec<(HeaderName, Text)>,
    pub(super) body: Template,
    pub(super) item: Option<Template>,
}

/// A refusal, before it has a shape.
#[derive(Debug, Clone)]
pub struct DialectRejection<'a> {
    pub code: ErrorCode,
    /// One of [`SUBCODES`], where there is one.
    pub subcode: Option<&'static str>,
    /// The status that goes with the code.
    pub status: StatusCode,
    /// The English text.
    pub detail: &'a str,
    /// In whole seconds.
    pub retry_after: Option<u64>,
    /// What WeChat said, and the published text of it.
    pub errcode: Option<(i64, &'static str)>,
    pub fields: Vec<InvalidField>,
    pub request_id: &'a str,
    pub now: Timestamp,
}

/// A field that was not valid.
#[derive(Debug, Clone)]
pub struct InvalidField {
    /// As the client calls it.
    pub name: String,
    pub message: String,
    /// As it was sent.
    pub value: Option<Value>,
}

/// A refusal in its shape.
#[derive(Debug, Clone)]
pub struct RenderedResponse {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

impl ErrorTemplate {
    /// Whether it is for this refusal.
    fn fits(&self, rejection: &DialectRejection<'_>) -> bool {
        self.codes.is_empty() || self.codes.iter().any(|code| rejection.is(code))
    }
}

impl DialectRejection<'_> {
    /// By its wire code or its finer one.
    fn is(&self, name: &str) -> bool {
        self.code.as_str() == name || self.subcode == Some(name)
    }
}

impl Dialect {
    /// A refusal on any path under the prefix, or on one of the routes.
    pub fn render_error(
        &self,
        route: Option<usize>,
        rejection: &DialectRejection<'_>,
    ) -> RenderedResponse {
        let own = route
            .and_then(|n| self.routes.get(n))
            .map_or(&[][..], |route| &route.errors);
        let Some(template) = own
            .iter()
            .chain(&self.errors)
            .find(|template| template.fits(rejection))
        else {
            // A dialect without a shape for it; the check of the config asks for one.
            return RenderedResponse {
                status: rejection.status,
                headers: Vec::new(),
                body: Vec::new(),
            };
        };
        let values = RejectionValues {
            rejection,
            status: template.status.unwrap_or(rejection.status),
            message: self.message(rejection),
            item: template.item.as_ref(),
        };
        RenderedResponse {
            status: values.status,
            headers: fill_headers(&template.headers, &values),
            body: template.body.fill(&values),
        }
    }

    fn message(&self, rejection: &DialectRejection<'_>) -> String {
        // A finer text comes before that of the wire code.
        let subcode = rejection
            .subcode
            .and_then(|subcode| self.messages.get(subcode));
        match subcode.or_else(|| self.messages.get(rejection.code.as_str())) {
            Some(text) => text.fill(&RejectionValues {
                rejection,
                status: rejection.status,
                message: String::new(),
                item: None,
            }),
            None => match self.language {
                Language::En => rejection.detail.to_owned(),
                Language::Zh => language::zh(rejection.code).to_owned(),
            },
        }
    }
}

/// Header fields with places. One that cannot stand in a header is left out.
pub(super) fn fill_headers(
    headers: &[(HeaderName, Text)],
    from: &impl PlaceholderSource,
) -> Vec<(HeaderName, HeaderValue)> {
    let filled = headers.iter().filter_map(|(name, text)| {
        let value = HeaderValue::from_str(&text.fill(from)).ok()?;
        Some((name.clone(), value))
    });
    filled.collect()
}

struct RejectionValues<'a> {
    rejection: &'a DialectRejection<'a>,
    status: StatusCode,
    message: String,
    item: Option<&'a Template>,
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
            Placeholder::RetryAfterSeconds => retry_after.map_or(PlaceholderValue::Null, |secs| {
                PlaceholderValue::owned(format!(
                    "{secs} second{}",
                    if secs == 1 { "" } else { "s" }
                ))
            }),
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
        .map(|field| String::from_utf8(item.fill(field)).unwrap_or_default())
        .collect();
    format!("[{}]", items.join(","))
}

/// `{"name":["message","message"]}`, in the order in which the fields were found wrong.
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
                // A `null` that was sent is something.
                Some(Value::Null) => PlaceholderValue::RawJson("null".to_owned()),
                Some(Value::String(text)) => PlaceholderValue::text(Some(text)),
                Some(other) => PlaceholderValue::Json(other.clone()),
            },
            _ => PlaceholderValue::Null,
        }
    }
}

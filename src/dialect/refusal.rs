//! What a refusal looks like in a dialect.

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{
    Dialect, language,
    place::{Given, Place, Source},
    template::Template,
    text::Text,
};
use crate::{config::Language, error::ErrorCode, types::Timestamp};

/// What a config can name that is finer than a wire code.
pub(super) const FINER: [&str; 6] = [
    "code_missing",
    "refresh_expired",
    "refresh_wrong_type",
    "wechat_refused",
    "wechat_unreachable",
    "wechat_unusable",
];

/// The shape of some refusals.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Wire codes and finer ones; none: all.
    pub(super) codes: Vec<String>,
    pub(super) status: Option<StatusCode>,
    pub(super) headers: Vec<(HeaderName, Text)>,
    pub(super) body: Template,
    pub(super) item: Option<Template>,
}

/// A refusal, before it has a shape.
#[derive(Debug, Clone)]
pub struct Refusal<'a> {
    pub code: ErrorCode,
    /// One of [`FINER`], where there is one.
    pub finer: Option<&'static str>,
    /// The status that goes with the code.
    pub status: StatusCode,
    /// The English text.
    pub detail: &'a str,
    /// In whole seconds.
    pub retry_after: Option<u64>,
    /// What WeChat said, and the published text of it.
    pub errcode: Option<(i64, &'static str)>,
    pub fields: Vec<WrongField>,
    pub request_id: &'a str,
    pub now: Timestamp,
}

/// A field that was not valid.
#[derive(Debug, Clone)]
pub struct WrongField {
    /// As the client calls it.
    pub name: String,
    pub message: String,
    /// As it was sent.
    pub value: Option<Value>,
}

/// A refusal in its shape.
#[derive(Debug, Clone)]
pub struct Shaped {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

impl Shape {
    /// Whether it is for this refusal.
    fn fits(&self, refusal: &Refusal<'_>) -> bool {
        self.codes.is_empty() || self.codes.iter().any(|code| refusal.is(code))
    }
}

impl Refusal<'_> {
    /// By its wire code or its finer one.
    fn is(&self, name: &str) -> bool {
        self.code.as_str() == name || self.finer == Some(name)
    }
}

impl Dialect {
    /// A refusal on any path under the prefix, or on one of the routes.
    pub fn refuse(&self, route: Option<usize>, refusal: &Refusal<'_>) -> Shaped {
        let own = route
            .and_then(|n| self.routes.get(n))
            .map_or(&[][..], |route| &route.errors);
        let Some(shape) = own
            .iter()
            .chain(&self.errors)
            .find(|shape| shape.fits(refusal))
        else {
            // A dialect without a shape for it; the check of the config asks for one.
            return Shaped {
                status: refusal.status,
                headers: Vec::new(),
                body: Vec::new(),
            };
        };
        let told = Told {
            refusal,
            status: shape.status.unwrap_or(refusal.status),
            message: self.message(refusal),
            item: shape.item.as_ref(),
        };
        Shaped {
            status: told.status,
            headers: fill_headers(&shape.headers, &told),
            body: shape.body.fill(&told),
        }
    }

    fn message(&self, refusal: &Refusal<'_>) -> String {
        // A finer text comes before that of the wire code.
        let finer = refusal.finer.and_then(|finer| self.messages.get(finer));
        match finer.or_else(|| self.messages.get(refusal.code.as_str())) {
            Some(text) => text.fill(&Told {
                refusal,
                status: refusal.status,
                message: String::new(),
                item: None,
            }),
            None => match self.language {
                Language::En => refusal.detail.to_owned(),
                Language::Zh => language::zh(refusal.code).to_owned(),
            },
        }
    }
}

/// Header fields with places. One that cannot stand in a header is left out.
pub(super) fn fill_headers(
    headers: &[(HeaderName, Text)],
    from: &impl Source,
) -> Vec<(HeaderName, HeaderValue)> {
    let filled = headers.iter().filter_map(|(name, text)| {
        let value = HeaderValue::from_str(&text.fill(from)).ok()?;
        Some((name.clone(), value))
    });
    filled.collect()
}

struct Told<'a> {
    refusal: &'a Refusal<'a>,
    status: StatusCode,
    message: String,
    item: Option<&'a Template>,
}

impl Source for Told<'_> {
    fn give(&self, place: Place) -> Given<'_> {
        let Refusal {
            code,
            retry_after,
            errcode,
            fields,
            request_id,
            now,
            ..
        } = self.refusal;
        match place {
            Place::Now => Given::Time(*now),
            Place::RequestId => Given::text(Some(request_id)),
            Place::Status => Given::Number(self.status.as_u16().into()),
            Place::Reason => Given::text(self.status.canonical_reason()),
            Place::Code => Given::text(Some(code.as_str())),
            Place::Message => Given::text(Some(&self.message)),
            Place::RetryAfter => retry_after.map_or(Given::Nothing, Given::count),
            Place::RetryAfterSeconds => retry_after.map_or(Given::Nothing, |secs| {
                Given::owned(format!("{secs} second{}", if secs == 1 { "" } else { "s" }))
            }),
            Place::WechatErrcode => {
                errcode.map_or(Given::Nothing, |(errcode, _)| Given::Number(errcode))
            }
            Place::WechatErrmsg => Given::text(errcode.map(|(_, errmsg)| errmsg)),
            Place::Errors => self
                .item
                .map_or(Given::Nothing, |item| Given::Written(listed(item, fields))),
            Place::ErrorsByField => Given::Written(by_field(fields)),
            _ => Given::Nothing,
        }
    }
}

/// `[item, item]`
fn listed(item: &Template, fields: &[WrongField]) -> String {
    let items: Vec<_> = fields
        .iter()
        .map(|field| String::from_utf8(item.fill(field)).unwrap_or_default())
        .collect();
    format!("[{}]", items.join(","))
}

/// `{"name":["message","message"]}`, in the order in which the fields were found wrong.
fn by_field(fields: &[WrongField]) -> String {
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

impl Source for WrongField {
    fn give(&self, place: Place) -> Given<'_> {
        match place {
            Place::FieldName => Given::text(Some(&self.name)),
            Place::FieldMessage => Given::text(Some(&self.message)),
            Place::FieldValue => match &self.value {
                None => Given::Nothing,
                // A `null` that was sent is something.
                Some(Value::Null) => Given::Written("null".to_owned()),
                Some(Value::String(text)) => Given::text(Some(text)),
                Some(other) => Given::Json(other.clone()),
            },
            _ => Given::Nothing,
        }
    }
}

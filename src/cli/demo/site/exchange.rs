//! One request of a tap: what was sent, checked, asked, seen by the backend, and answered.

use bytes::Bytes;
use http::{HeaderMap, Response};
use maud::{Markup, html};

use super::{
    super::{
        color::Color,
        json::{self, shorten},
        record::{Exchange, Vendor, VendorCall},
        text::Text,
    },
    checks::checks,
    header_changes::{Change, HeaderChange, header_changes},
    texts,
};
use crate::{console::Language, dev::backend::ReceivedRequest};

/// Columns of JSON before it is spread over lines.
const JSON_WIDTH: usize = 60;

/// The sections of the story of one request.
pub(super) fn exchange(exchange: &Exchange, language: Language) -> Markup {
    let say = |text: Text| text.in_language(language);
    html! {
        ol.sections {
            li {
                h4 { (say(texts::WHAT_WAS_SENT)) }
                (sent(exchange))
            }
            @if let Some(explanation) = &exchange.explanation {
                li {
                    h4 { (say(texts::WHAT_MENSHEN_CHECKED)) }
                    (checks(explanation, language))
                }
            }
            @for call in &exchange.vendor_calls {
                li {
                    h4 { (say(texts::WHAT_VENDOR_WAS_ASKED)) ": " (say(vendor_name(call.vendor))) }
                    (vendor_call(call, language))
                }
            }
            li {
                h4 { (say(texts::WHAT_BACKEND_SAW)) }
                @match &exchange.received {
                    Some(received) => (backend_saw(exchange, received, language)),
                    None => p.nothing { (say(texts::BACKEND_NOT_ASKED)) },
                }
            }
            li {
                h4 { (say(texts::WHAT_CAME_BACK)) }
                (came_back(exchange, language))
            }
        }
    }
}

pub(super) const fn vendor_name(vendor: Vendor) -> Text {
    match vendor {
        Vendor::Wechat => texts::SIMULATED_WECHAT,
        Vendor::Sms => texts::SIMULATED_SMS,
    }
}

/// `200 OK`.
pub(super) fn status(response: &Response<Bytes>) -> String {
    response.status().to_string()
}

fn sent(exchange: &Exchange) -> Markup {
    let call = &exchange.call;
    html! {
        pre.http {
            span.line.first { b { (call.method) } " " (call.path) }
            @for (name, value) in &exchange.sent_headers { (header_line(name, value)) }
            @if let Some(text) = &call.body { (body(text)) }
        }
    }
}

fn header_line(name: &str, value: &str) -> Markup {
    html! { span.line { span.name { (name) } ": " (shorten(value)) } }
}

fn body(text: &str) -> Markup {
    html! {
        @for (at, line) in json::lines(text, JSON_WIDTH, Color::Plain).iter().enumerate() {
            span class=(if at == 0 { "line body" } else { "line" }) { (line) }
        }
    }
}

fn vendor_call(vendor_call: &VendorCall, language: Language) -> Markup {
    let call = &vendor_call.call;
    html! {
        pre.http {
            span.line.first { b { (call.method) } " " (call.path) }
            @for (name, value) in &call.query {
                span.line { span.name { (name) } "=" (shorten(value)) }
            }
            @if !call.body.is_empty() { (body(&call.body)) }
        }
        @if let Some((status, text)) = &call.response {
            p.between { (texts::VENDOR_ANSWERED.in_language(language)) }
            pre.http {
                span.line.first { b { (status) } }
                (body(text))
            }
        }
    }
}

fn backend_saw(exchange: &Exchange, received: &ReceivedRequest, language: Language) -> Markup {
    let changes = header_changes(exchange);
    html! {
        p.between { (texts::STRIPPED_AND_SET.in_language(language)) }
        pre.http {
            span.line.first { b { (received.method) } " " (received.target) }
            @for field in &changes { (changed_line(field, language)) }
            @if received.body_bytes > 0 {
                span.line.body { (received.body_bytes) " " (texts::BYTES_OF_BODY.in_language(language)) }
            }
        }
    }
}

fn changed_line(field: &HeaderChange<'_>, language: Language) -> Markup {
    let (class, sign, spoken) = match field.change {
        Change::Stripped(_) => ("line stripped", "−", Some(texts::STRIPPED)),
        Change::Set => ("line set", "+", Some(texts::SET)),
        Change::Passed => ("line passed", " ", None),
    };
    html! {
        span class=(class) {
            span.sign aria-hidden="true" { (sign) " " }
            @if let Some(spoken) = spoken { span.visually-hidden { (spoken.in_language(language)) " " } }
            span.field { span.name { (field.name) } ": " (shorten(field.value)) }
            @if let Change::Stripped(Some(reason)) = field.change { " " span.reason lang="en" { (reason) } }
        }
    }
}

fn came_back(exchange: &Exchange, language: Language) -> Markup {
    let response = &exchange.response;
    let is_success = response.status().is_success();
    let text = String::from_utf8_lossy(response.body());
    html! {
        pre.http {
            span.line.first { b class=(if is_success { "good" } else { "bad" }) { (status(response)) } }
            @for (name, value) in header_lines(response.headers()) { (header_line(name, &value)) }
            @if exchange.received.is_none() && !text.is_empty() { (body(&text)) }
        }
        @if exchange.received.is_some() {
            p.between { (texts::BODY_IS_ECHO.in_language(language)) }
        }
    }
}

fn header_lines(headers: &HeaderMap) -> impl Iterator<Item = (&str, String)> {
    headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str(), value)
    })
}

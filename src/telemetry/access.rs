//! The access log: one line for each request.
//!
//! Formatted by hand rather than through `tracing`, because every request pays for it. The query is
//! never in it, and digits that could be a phone number are masked.

use std::{cell::RefCell, io::Write};

use super::{Sink, recent::LineKind};
use crate::{
    config::LogFormat,
    types::{ClientIp, Timestamp},
};

/// What the access log says of one request.
#[derive(Debug, Clone, Copy)]
pub struct AccessLine<'a> {
    pub at: Timestamp,
    pub request_id: &'a str,
    pub method: &'a str,
    /// Path without the query; empty when the head could not be read.
    pub path: &'a str,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// 0 when the client had left before a response.
    pub status: u16,
    /// Name of the rule that decided.
    pub rule: &'a str,
    /// `forwarded`, `refused`, `auth`, `failed`, `verified` or `preflight`.
    pub decision: &'static str,
    /// Wire code of menshen's own error response.
    pub error: Option<&'static str>,
    /// In report-only mode: the wire code of the rejection that was not enforced.
    pub would_refuse: Option<&'static str>,
    pub user: Option<&'a str>,
    pub client_ip: ClientIp,
    /// The backend that was sent the request.
    pub upstream: Option<&'a str>,
    /// Microseconds until the head of its response came.
    pub upstream_us: Option<u64>,
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// Bytes sent of the response's body, of a response of the backend.
    pub sent: u64,
    /// `complete`, `client_gone`, `failed`, or why a stream was closed.
    pub ended: &'static str,
    /// Microseconds from the head's last byte to the answer's last byte.
    pub duration_us: u64,
    /// Microseconds of the gate's decision, which are part of that.
    pub gate_us: u64,
}

/// Writes access lines, unless the access log is off.
#[derive(Debug, Clone)]
pub struct AccessLog {
    to: Option<(Sink, LogFormat)>,
}

impl AccessLog {
    /// `to`: `None` when `telemetry.access_log` is off.
    pub const fn new(to: Option<(Sink, LogFormat)>) -> Self {
        Self { to }
    }

    /// Writes one line.
    pub fn write(&self, line: &AccessLine<'_>) {
        let Some((sink, format)) = &self.to else {
            return;
        };
        let kind = if line.error.or(line.would_refuse).is_some() {
            LineKind::AccessError
        } else {
            LineKind::Access
        };
        let line = match format {
            LogFormat::Json => json(line),
            LogFormat::Text => text(line),
        };
        sink.offer(line, kind);
    }
}

/// Fewest digits in a row that could be a phone number.
const PHONE_DIGITS: usize = 11;

/// The path with every run of digits that could be a phone number masked.
pub(crate) fn mask_phones(path: &str) -> std::borrow::Cow<'_, str> {
    let long_run = |text: &str| {
        text.as_bytes()
            .split(|b| !b.is_ascii_digit())
            .any(|run| run.len() >= PHONE_DIGITS)
    };
    if !long_run(path) {
        return path.into();
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(if digits.len() >= PHONE_DIGITS {
            "***"
        } else {
            digits
        });
        rest = after;
    }
    out.push_str(rest);
    out.into()
}

/// `2023-11-14T22:13:20.123Z`. Each thread caches the second that it formatted last.
fn format_timestamp(at: Timestamp) -> String {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let (secs, millis) = (at.as_secs(), at.as_millis() % 1000);
    LAST.with_borrow_mut(|(last, text)| {
        if *last != secs {
            *last = secs;
            *text = at.rfc3339();
        }
        let mut out = String::with_capacity(24);
        out.push_str(text.trim_end_matches('Z'));
        out.push('.');
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            out.extend(char::from_digit(u32::try_from(digit).unwrap_or(0), 10));
        }
        out.push('Z');
        out
    })
}

/// One JSON object. Only what a client chose can need escaping.
fn json(line: &AccessLine<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(384);
    let mut number = itoa::Buffer::new();
    put(
        &mut out,
        &[
            r#"{"timestamp":""#,
            &format_timestamp(line.at),
            r#"","level":"INFO","target":"access","request_id":"#,
        ],
    );
    quote(&mut out, line.request_id);
    put(&mut out, &[r#","method":"#]);
    quote(&mut out, line.method);
    put(&mut out, &[r#","path":"#]);
    quote(&mut out, &mask_phones(line.path));
    put(
        &mut out,
        &[r#","status":"#, number.format(line.status), r#","rule":"#],
    );
    quote(&mut out, line.rule);
    put(&mut out, &[r#","decision":""#, line.decision, r#"""#]);
    if let Some(error) = line.error {
        put(&mut out, &[r#","error":""#, error, r#"""#]);
    }
    if let Some(code) = line.would_refuse {
        put(&mut out, &[r#","would_refuse":""#, code, r#"""#]);
    }
    if let Some(user) = line.user {
        put(&mut out, &[r#","user":"#]);
        quote(&mut out, user);
    }
    // Writing to memory cannot fail, and an address has nothing to escape.
    drop(write!(out, r#","client_ip":"{}""#, line.client_ip));
    put(&mut out, &[r#","protocol":""#, line.protocol, r#"""#]);
    if let Some(upstream) = line.upstream {
        put(&mut out, &[r#","upstream":"#]);
        quote(&mut out, upstream);
    }
    if let Some(micros) = line.upstream_us {
        put(&mut out, &[r#","upstream_us":"#, number.format(micros)]);
    }
    put(&mut out, &[r#","received":"#, number.format(line.received)]);
    put(&mut out, &[r#","sent":"#, number.format(line.sent)]);
    put(&mut out, &[r#","ended":""#, line.ended, r#"""#]);
    put(
        &mut out,
        &[r#","duration_us":"#, number.format(line.duration_us)],
    );
    put(
        &mut out,
        &[r#","gate_us":"#, number.format(line.gate_us), "}\n"],
    );
    out
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A JSON string. Plain ASCII, which nearly all is, is copied.
fn quote(out: &mut Vec<u8>, text: &str) {
    if text
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
    {
        put(out, &["\"", text, "\""]);
    } else {
        // Writing to memory cannot fail.
        drop(serde_json::to_writer(out, text));
    }
}

fn text(line: &AccessLine<'_>) -> Vec<u8> {
    let error = line
        .error
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    let would = line
        .would_refuse
        .map(|code| format!(" would_refuse={code}"))
        .unwrap_or_default();
    let upstream = match (line.upstream, line.upstream_us) {
        (Some(upstream), Some(micros)) => format!(" upstream={upstream} upstream_us={micros}"),
        (Some(upstream), None) => format!(" upstream={upstream}"),
        (None, _) => String::new(),
    };
    format!(
        "{}  {} {} {} {}{error}{would}  rule={} user={} ip={} {}{upstream} received={} sent={} {} {}us gate={}us id={}\n",
        format_timestamp(line.at),
        line.method,
        mask_phones(line.path),
        line.status,
        line.decision,
        line.rule,
        line.user.unwrap_or("-"),
        line.client_ip,
        line.protocol,
        line.received,
        line.sent,
        line.ended,
        line.duration_us,
        line.gate_us,
        line.request_id,
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{super::RecentLines, *};

    const LINE: AccessLine<'static> = AccessLine {
        at: Timestamp::from_millis(1_700_000_000_123),
        request_id: "r1",
        method: "GET",
        path: "/a\"b",
        protocol: "HTTP/1.1",
        status: 401,
        rule: "default",
        decision: "refused",
        error: Some("token_missing"),
        would_refuse: None,
        user: None,
        client_ip: ClientIp::LOOPBACK,
        upstream: None,
        upstream_us: None,
        received: 0,
        sent: 0,
        ended: "complete",
        duration_us: 12,
        gate_us: 1,
    };

    #[test]
    fn a_json_line_is_one_json_object_whatever_the_path() {
        let line = json(&LINE);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(value["path"], "/a\"b");
        assert_eq!(value["timestamp"], "2023-11-14T22:13:20.123Z");
        assert_eq!(memchr::memchr_iter(b'\n', &line).count(), 1);
    }

    #[test]
    fn a_line_of_an_error_is_read_again_the_same_in_both_formats() {
        let full = AccessLine {
            user: Some("u1"),
            path: "/a b/(x)",
            would_refuse: Some("forbidden"),
            upstream: Some("http://b"),
            upstream_us: Some(3),
            ..LINE
        };
        let unreadable = AccessLine {
            method: "",
            path: "",
            rule: "none",
            ..LINE
        };
        for line in [LINE, full, unreadable] {
            let read = |bytes: Vec<u8>| {
                let recent = RecentLines::default();
                recent.keep(&bytes, LineKind::AccessError);
                recent.failed_requests().pop().expect("a line")
            };
            let (from_json, from_text) = (read(json(&line)), read(text(&line)));
            assert_eq!(from_json, from_text);
            assert_eq!(from_json.path, line.path);
            assert_eq!(from_json.error.as_deref(), line.error);
            assert_eq!(from_json.request_id, "r1");
        }
    }

    #[test]
    fn what_could_be_a_phone_number_is_masked() {
        for (path, shown) in [
            ("/orders/1234567890", "/orders/1234567890"),
            ("/users/13800138000/x", "/users/***/x"),
            ("/8613800138000", "/***"),
            ("/a1/13800138000/2", "/a1/***/2"),
        ] {
            assert_eq!(mask_phones(path), shown);
        }
    }

    #[test]
    fn a_stamp_is_right_in_every_second() {
        for (millis, text) in [
            (0, "00.000Z"),
            (7, "00.007Z"),
            (1_089, "01.089Z"),
            (1_999, "01.999Z"),
            (60_123, "00.123Z"),
        ] {
            let stamp = format_timestamp(Timestamp::from_millis(1_700_000_040_000 + millis));
            assert!(
                stamp.starts_with("2023-11-14T22:1") && stamp.ends_with(text),
                "{stamp}"
            );
        }
    }
}

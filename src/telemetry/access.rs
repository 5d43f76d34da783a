//! The line that each request leaves: who asked for what, who decided, how it ended.
//!
//! Written by hand rather than through `tracing`, because it is on the way of every request. The query is never in it, and
//! digits that could be a phone number are masked.

use serde::Serialize;

use super::Sink;
use crate::{
    config::LogFormat,
    metrics::Metrics,
    types::{ClientIp, Timestamp},
};

/// What one request leaves behind.
#[derive(Debug, Clone, Copy)]
pub struct AccessLine<'a> {
    pub at: Timestamp,
    pub request_id: &'a str,
    pub method: &'a str,
    /// Path without the query; empty when the head could not be read.
    pub path: &'a str,
    pub status: u16,
    /// Name of the rule that decided.
    pub rule: &'a str,
    /// `forwarded`, `refused`, `auth` or `failed`.
    pub decision: &'static str,
    /// Wire code, when menshen refused or failed it.
    pub error: Option<&'static str>,
    pub user: Option<&'a str>,
    pub client_ip: ClientIp,
    /// Microseconds from the head's last byte to the answer's last byte.
    pub duration_us: u64,
    /// Microseconds of that which the gate's decision took.
    pub gate_us: u64,
}

/// Writes access lines, or does not.
#[derive(Debug, Clone)]
pub struct AccessLog {
    to: Option<(Sink, LogFormat)>,
    metrics: Metrics,
}

impl AccessLog {
    /// `to`: `None` when `telemetry.access_log` is off.
    pub fn new(to: Option<(Sink, LogFormat)>, metrics: Metrics) -> Self {
        Self { to, metrics }
    }

    /// Writes one line; gives it up, and counts that, when the reader of the log does not keep up.
    pub fn write(&self, line: &AccessLine<'_>) {
        let Some((sink, format)) = &self.to else { return };
        let text = match format {
            LogFormat::Json => json(line),
            LogFormat::Text => text(line),
        };
        if !sink.offer(text) {
            self.metrics.log_lines_dropped.inc();
        }
    }
}

/// Digits in a row from which on they could be a phone number.
const PHONE_DIGITS: usize = 11;

/// The path with every run of digits that could be a phone number masked.
fn masked(path: &str) -> std::borrow::Cow<'_, str> {
    let long_run = |text: &str| text.as_bytes().split(|b| !b.is_ascii_digit()).any(|run| run.len() >= PHONE_DIGITS);
    if !long_run(path) {
        return path.into();
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(if digits.len() >= PHONE_DIGITS { "***" } else { digits });
        rest = after;
    }
    out.push_str(rest);
    out.into()
}

fn json(line: &AccessLine<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Fields<'a> {
        timestamp: &'a str,
        level: &'static str,
        target: &'static str,
        request_id: &'a str,
        method: &'a str,
        path: &'a str,
        status: u16,
        rule: &'a str,
        decision: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<&'a str>,
        client_ip: std::net::IpAddr,
        duration_us: u64,
        gate_us: u64,
    }
    let mut out = Vec::with_capacity(384);
    let fields = Fields {
        timestamp: &line.at.rfc3339_millis(),
        level: "INFO",
        target: "access",
        request_id: line.request_id,
        method: line.method,
        path: &masked(line.path),
        status: line.status,
        rule: line.rule,
        decision: line.decision,
        error: line.error,
        user: line.user,
        client_ip: line.client_ip.address(),
        duration_us: line.duration_us,
        gate_us: line.gate_us,
    };
    // Writing to memory cannot fail.
    drop(serde_json::to_writer(&mut out, &fields));
    out.push(b'\n');
    out
}

fn text(line: &AccessLine<'_>) -> Vec<u8> {
    let error = line.error.map(|code| format!(" ({code})")).unwrap_or_default();
    format!(
        "{}  {} {} {} {}{error}  rule={} user={} ip={} {}us gate={}us id={}\n",
        line.at.rfc3339_millis(),
        line.method,
        masked(line.path),
        line.status,
        line.decision,
        line.rule,
        line.user.unwrap_or("-"),
        line.client_ip,
        line.duration_us,
        line.gate_us,
        line.request_id,
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: AccessLine<'static> = AccessLine {
        at: Timestamp::from_millis(1_700_000_000_123),
        request_id: "r1",
        method: "GET",
        path: "/a\"b",
        status: 401,
        rule: "default",
        decision: "refused",
        error: Some("token_missing"),
        user: None,
        client_ip: ClientIp::LOOPBACK,
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
    fn what_could_be_a_phone_number_is_masked() {
        for (path, shown) in [
            ("/orders/1234567890", "/orders/1234567890"),
            ("/users/13800138000/x", "/users/***/x"),
            ("/8613800138000", "/***"),
            ("/a1/13800138000/2", "/a1/***/2"),
        ] {
            assert_eq!(masked(path), shown);
        }
    }
}

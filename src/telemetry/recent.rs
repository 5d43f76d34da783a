//! The last lines of the log that the console shows: requests that ended with an error, and audit
//! events.
//!
//! The thread that writes the log keeps them as they are; they are parsed when they are read. Must
//! stay true: both lists are bounded in lines and in bytes; no request waits for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;
use serde_json::{Map, Value};

/// Lines in each list, at most.
const MAX_LINES: usize = 400;
/// Bytes in each list, at most, besides the newest line.
const MAX_BYTES: usize = 256 * 1024;
/// Where the target starts in a text line of `tracing`, behind time and level.
const TEXT_TARGET_AT: usize = "2026-01-01T00:00:00.000000Z  INFO ".len();

/// The kind of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// Of a request.
    Access,
    /// Of a request that ended with an error of menshen's own, or would have.
    AccessError,
    Other,
}

/// The last lines, parsed when they are read.
#[derive(Debug, Default)]
pub struct RecentLines(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    errors: LineList,
    audit: LineList,
    /// Of those, what operators did: others cannot push it out.
    acts: LineList,
}

#[derive(Debug, Default)]
struct LineList {
    lines: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

/// A request that ended with an error of menshen's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FailedRequest {
    /// RFC 3339, UTC, with milliseconds.
    #[serde(rename = "timestamp")]
    pub at: String,
    pub request_id: String,
    pub method: String,
    /// Without the query; digits that could be a phone number are masked.
    pub path: String,
    pub status: u16,
    pub rule: String,
    pub decision: String,
    /// Error code.
    pub error: Option<String>,
    /// In report-only mode: the error code of the rejection that was not enforced.
    pub would_refuse: Option<String>,
    pub user: Option<String>,
    pub client_ip: String,
}

/// An event of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditLine {
    /// RFC 3339, UTC, with microseconds.
    pub at: String,
    pub event: String,
    /// Names and values, in the order of the log.
    pub fields: Vec<(String, String)>,
}

impl AuditLine {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl RecentLines {
    /// Keeps the line if a list is for its kind.
    pub(super) fn keep(&self, line: &[u8], kind: LineKind) {
        match kind {
            LineKind::AccessError => self.lists().errors.push(line),
            LineKind::Other if is_audit(line) && is_act(line) => self.lists().acts.push(line),
            LineKind::Other if is_audit(line) => self.lists().audit.push(line),
            LineKind::Access | LineKind::Other => {}
        }
    }

    /// The last requests that ended with an error, newest first.
    pub fn failed_requests(&self) -> Vec<FailedRequest> {
        let lines = self.lists().errors.newest_first();
        lines
            .iter()
            .filter_map(|line| FailedRequest::parse(line))
            .collect()
    }

    /// The last audit events, newest first.
    pub fn audit_lines(&self) -> Vec<AuditLine> {
        let lines = {
            let lists = self.lists();
            [lists.acts.newest_first(), lists.audit.newest_first()].concat()
        };
        let mut events: Vec<_> = lines
            .iter()
            .filter_map(|line| AuditLine::parse(line))
            .collect();
        events.sort_by(|one, other| other.at.cmp(&one.at));
        events
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineList {
    /// To be parsed when the list is not locked any more: the log waits for it.
    fn newest_first(&self) -> Vec<Arc<[u8]>> {
        self.lines.iter().rev().cloned().collect()
    }

    fn push(&mut self, line: &[u8]) {
        while self.lines.len() >= MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
        self.bytes += line.len();
        self.lines.push_back(line.into());
    }
}

/// Whether a line of `tracing` is of the audit log. A value cannot pretend to be one: JSON escapes
/// its quotation marks, and in a text line the target has its place.
fn is_audit(line: &[u8]) -> bool {
    if line.first() == Some(&b'{') {
        memchr::memmem::find(line, br#""target":"audit""#).is_some()
    } else {
        line.get(TEXT_TARGET_AT..)
            .is_some_and(|rest| rest.starts_with(b"audit: "))
    }
}

/// Whether an audit line tells what an operator did, by whichever way.
fn is_act(line: &[u8]) -> bool {
    let by: &[u8] = if line.first() == Some(&b'{') {
        br#","by":""#
    } else {
        b" by="
    };
    memchr::memmem::find(line, by).is_some()
}

impl FailedRequest {
    /// Reads a line of the access log, in either format.
    fn parse(line: &[u8]) -> Option<Self> {
        if line.first() == Some(&b'{') {
            return serde_json::from_slice(line).ok();
        }
        let text = std::str::from_utf8(line).ok()?.trim_end();
        let (head, tail) = text.rsplit_once("  rule=")?;
        let (at, head) = head.split_once("  ")?;
        let (head, would_refuse) = match head.rsplit_once(" would_refuse=") {
            Some((head, code)) => (head, Some(code.to_owned())),
            None => (head, None),
        };
        let (head, error) = match head.strip_suffix(')').and_then(|it| it.rsplit_once(" (")) {
            Some((head, code)) => (head, Some(code.to_owned())),
            None => (head, None),
        };
        let (head, decision) = head.rsplit_once(' ')?;
        let (head, status) = head.rsplit_once(' ')?;
        let (method, path) = head.split_once(' ')?;
        let (rule, tail) = tail.rsplit_once(" user=")?;
        let (user, tail) = tail.split_once(" ip=")?;
        let (client_ip, tail) = tail.split_once(' ')?;
        Some(Self {
            at: at.to_owned(),
            request_id: tail.rsplit_once(" id=")?.1.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            status: status.parse().ok()?,
            rule: rule.to_owned(),
            decision: decision.to_owned(),
            error,
            would_refuse,
            user: (user != "-").then(|| user.to_owned()),
            client_ip: client_ip.to_owned(),
        })
    }
}

impl AuditLine {
    /// Reads a line of the audit log, in either format.
    fn parse(line: &[u8]) -> Option<Self> {
        if line.first() != Some(&b'{') {
            return Self::parse_text(std::str::from_utf8(line).ok()?.trim_end());
        }
        let mut line: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let mut text = |name: &str| match line.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        };
        let (at, event) = (text("timestamp")?, text("event")?);
        drop((text("level"), text("target"), text("message")));
        let fields = line.into_iter().map(|(name, value)| match value {
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        });
        Some(Self {
            at,
            event,
            fields: fields.collect(),
        })
    }

    /// `2026-01-01T00:00:00.000000Z  INFO audit: user 1 signed in event="login.succeeded" user=1`.
    fn parse_text(line: &str) -> Option<Self> {
        let at = line.split_once(' ')?.0.to_owned();
        let (_, mut rest) = line.split_once(" event=\"")?;
        let (event, behind) = rest.split_once('"')?;
        rest = behind.trim_start();
        let mut fields = Vec::new();
        while let Some((name, behind)) = rest.split_once('=') {
            let (value, behind) = match behind.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => behind.split_once(' ').unwrap_or((behind, "")),
            };
            fields.push((name.to_owned(), value.to_owned()));
            rest = behind.trim_start();
        }
        Some(Self {
            at,
            event: event.to_owned(),
            fields,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIT_JSON: &[u8] = br#"{"timestamp":"2026-12-02T01:02:03.000004Z","level":"WARN","event":"rights.changed","user":"u1","change":"ban","ended":2,"by":"console","message":"rights of user u1 changed: ban","target":"audit"}
"#;
    const AUDIT_TEXT: &[u8] = b"2026-12-02T01:02:03.000004Z  WARN audit: rights of user u1 changed: ban event=\"rights.changed\" user=u1 change=\"ban\" ended=2 by=\"console\"\n";

    #[test]
    fn an_audit_line_is_the_same_in_both_formats() {
        let (json, text) = (
            AuditLine::parse(AUDIT_JSON).unwrap(),
            AuditLine::parse(AUDIT_TEXT).unwrap(),
        );
        assert_eq!(json.event, "rights.changed");
        for line in [&json, &text] {
            assert_eq!(line.at, "2026-12-02T01:02:03.000004Z");
            assert_eq!(line.event, "rights.changed");
            for (name, value) in [
                ("user", "u1"),
                ("change", "ban"),
                ("ended", "2"),
                ("by", "console"),
            ] {
                assert_eq!(line.field(name), Some(value), "{line:?}");
            }
            assert_eq!(line.fields.len(), 4, "{line:?}");
        }
    }

    #[test]
    fn only_audit_lines_and_errors_are_kept() {
        let recent = RecentLines::default();
        recent.keep(AUDIT_JSON, LineKind::Other);
        recent.keep(AUDIT_TEXT, LineKind::Other);
        recent.keep(
            br#"{"level":"INFO","message":"\"target\":\"audit\"","target":"menshen"}"#,
            LineKind::Other,
        );
        recent.keep(
            b"2026-12-02T01:02:03.000004Z  WARN menshen: audit: event=\"x\"",
            LineKind::Other,
        );
        recent.keep(b"{}", LineKind::Access);
        recent.keep(
            br#"{"request_id":"r1","status":401}"#,
            LineKind::AccessError,
        );
        assert_eq!(recent.audit_lines().len(), 2);
        let failed = recent.failed_requests();
        assert_eq!((failed.len(), failed[0].status), (1, 401));
    }

    #[test]
    fn what_operators_did_is_not_pushed_out_by_what_others_do() {
        let recent = RecentLines::default();
        recent.keep(AUDIT_JSON, LineKind::Other);
        recent.keep(AUDIT_TEXT, LineKind::Other);
        for n in 0..2 * MAX_LINES {
            let line = format!(
                r#"{{"timestamp":"2026-12-03T00:00:00.{n:06}Z","event":"login.failed","target":"audit"}}"#
            );
            recent.keep(line.as_bytes(), LineKind::Other);
        }
        let events = recent.audit_lines();
        assert_eq!(events.len(), MAX_LINES + 2);
        assert!(events.is_sorted_by(|one, other| one.at >= other.at));
        assert_eq!(events[MAX_LINES].event, "rights.changed");
    }

    #[test]
    fn a_flood_takes_no_more_than_its_bytes() {
        let recent = RecentLines::default();
        let line = |id: usize, len: usize| {
            format!(r#"{{"request_id":"r{id}","path":"/{}"}}"#, "x".repeat(len)).into_bytes()
        };
        for id in 0..1000 {
            recent.keep(&line(id, 10), LineKind::AccessError);
        }
        let failed = recent.failed_requests();
        assert_eq!((failed.len(), &*failed[0].request_id), (MAX_LINES, "r999"));
        for id in 0..100 {
            recent.keep(&line(id, 60_000), LineKind::AccessError);
        }
        let lists = recent.lists();
        let bytes: usize = lists.errors.lines.iter().map(|line| line.len()).sum();
        assert_eq!(bytes, lists.errors.bytes);
        assert!(bytes < MAX_BYTES + 2 * 61_000, "{bytes}");
    }
}

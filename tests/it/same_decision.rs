//! One decision on one request, however it comes: over HTTP/1.1 and HTTP/2, to the gate itself and
//! by the question of a proxy.
//!
//! Each row of the table (`decided_requests.rs`) is sent in every way. The decision, what the
//! backend gets and what the client is told have to be the same, but for what the protocols
//! themselves make different; each such difference is named below or in
//! `same_decision_for_proxies.rs`, once.

use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::{
    backend::{Backend, Received},
    decided_requests::{
        HOST, RULES, Row,
        Sent::{Length, Nothing, Open},
        table,
    },
    menshen::{Menshen, Setup},
    wire::Client,
    written_heads::WrittenHeads,
};

/// The fields of a message, by their names.
type Fields = BTreeMap<String, Vec<String>>;
/// First line, fields and body.
type Forwarded = (String, Fields, Vec<u8>);

/// What a row came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: u16,
    /// Fields of the answer.
    pub(super) fields: Fields,
    pub(super) body: String,
    /// What the backend got: its first line, its fields and its body.
    pub(super) forwarded: Option<Forwarded>,
    /// What the access log says of it.
    pub(super) logged: BTreeMap<String, Value>,
}

/// Fields by their names in lower case: **HTTP/2 has no others.**
fn by_name<'f>(fields: impl Iterator<Item = (&'f str, &'f str)>) -> Fields {
    let mut sorted: Fields = BTreeMap::new();
    for (name, value) in fields {
        sorted
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.to_owned());
    }
    sorted
}

impl Outcome {
    fn new(
        status: u16,
        fields: Fields,
        body: &[u8],
        forwarded: Option<Received>,
        menshen: &Menshen,
    ) -> Self {
        let forwarded = forwarded.map(|seen| {
            let headers = seen.headers();
            let fields = by_name(
                headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            );
            (seen.line, fields, seen.body)
        });
        let id = forwarded
            .as_ref()
            .map_or(&fields, |(_, fields, _)| fields)
            .get("x-request-id")
            .map(|ids| ids[0].clone());
        let id = id.unwrap_or_else(|| panic!("{status} without a request id: {fields:?}"));
        let logged = access_record(menshen, &id);
        let mut outcome = Self {
            status,
            fields,
            body: String::from_utf8_lossy(body).into_owned(),
            forwarded,
            logged,
        };
        outcome.leave_out_what_is_of_the_moment(&id);
        outcome.leave_out_what_is_of_the_connection();
        outcome
    }

    /// **Each request has an id and a moment of its own**, and how long a client is to wait is
    /// spread by the id.
    fn leave_out_what_is_of_the_moment(&mut self, id: &str) {
        for fields in [
            Some(&mut self.fields),
            self.forwarded.as_mut().map(|(_, fields, _)| fields),
        ]
        .into_iter()
        .flatten()
        {
            fields.remove("date");
            for name in ["x-request-id", "retry-after"] {
                if let Some(values) = fields.get_mut(name) {
                    *values = vec![String::new(); values.len()];
                }
            }
        }
        self.body = self.body.replace(id, "");
        if let Ok(mut json) = serde_json::from_str::<Value>(&self.body)
            && let Some(time) = json.get_mut("timestamp")
        {
            *time = Value::Null;
            self.body = json.to_string();
        }
    }

    /// **A connection of HTTP/1.1 is framed and kept by fields** that HTTP/2 must not have (RFC
    /// 9113 section 8.2.2), and what ends a body there needs no length.
    fn leave_out_what_is_of_the_connection(&mut self) {
        for name in ["connection", "keep-alive", "transfer-encoding"] {
            self.fields.remove(name);
        }
        // **Trailers of a backend of HTTP/1.1 are asked for where the client's own connection has
        // asked so.**
        if let Some((_, fields, _)) = &mut self.forwarded {
            fields.remove("te");
            fields.remove("connection");
        }
        if self
            .fields
            .get("content-length")
            .is_some_and(|length| length == &["0"])
        {
            self.fields.remove("content-length");
        }
    }

    /// **A head of HTTP/1.1 with more fields than there is room for is not read at all**, so
    /// nothing is known of it but that.
    fn leave_out_what_was_not_read_of(&mut self, http1: &Self) {
        if http1.logged["method"] == "" {
            self.fields.remove("vary");
            self.logged.insert("method".to_owned(), "".into());
            self.logged.insert("path".to_owned(), "".into());
        }
    }

    pub(super) fn decision(&self) -> &str {
        self.logged["decision"].as_str().expect("a decision")
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.fields
            .get("x-menshen-error")
            .map(|codes| codes[0].as_str())
    }
}

/// The line of this request in the access log, without its times.
fn access_record(menshen: &Menshen, id: &str) -> BTreeMap<String, Value> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let line =
            menshen.newest_line(|line| line.contains(id) && line.contains("\"target\":\"access\""));
        if let Some(line) = line {
            let record: BTreeMap<String, Value> = serde_json::from_str(&line).expect("JSON");
            let compared = [
                "method",
                "path",
                "status",
                "rule",
                "decision",
                "error",
                "would_refuse",
                "user",
                "client_ip",
            ];
            return record
                .into_iter()
                .filter(|(name, _)| compared.contains(&name.as_str()))
                .collect();
        }
        assert!(Instant::now() < end, "no line about {id}");
        std::thread::yield_now();
    }
}

/// How a row is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) struct World {
    backend: Backend,
    menshen: Menshen,
    runtime: Runtime,
    tokens: Vec<(&'static str, String)>,
}

impl World {
    pub(super) fn start(more: &str, upstream: &str) -> Self {
        let backend = Backend::answering(|request, stream| {
            let body = if request.line.starts_with("HEAD ") {
                ""
            } else {
                "ok"
            };
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-App: 1\r\nX-App: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                        X-Menshen-Error: forbidden\r\nX-User-Id: 7\r\nAccess-Control-Allow-Origin: https://its-own.example\r\n\
                        Cache-Control: max-age=1\r\nDate: Tue, 01 Dec 2026 00:00:00 GMT\r\n\r\n";
            stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
        });
        let server = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true";
        let upstream = format!(
            "[upstream]\nurls = [\"http://{}\"]\n{upstream}",
            backend.address
        );
        let menshen = Setup::before(backend.address)
            .with(server)
            .with(&upstream)
            .with(RULES)
            .with(more)
            .start();
        let tokens = vec![
            ("{alice}", menshen.token("alice")),
            ("{admin}", menshen.token("admin-1")),
        ];
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            backend,
            menshen,
            runtime,
            tokens,
        }
    }

    /// The row with the tokens in it.
    pub(super) fn fill(&self, row: &Row) -> Row {
        let filled = |value: &String| {
            self.tokens
                .iter()
                .fold(value.clone(), |text, (name, token)| {
                    text.replace(name, token)
                })
        };
        Row {
            fields: row
                .fields
                .iter()
                .map(|(name, value)| (*name, filled(value)))
                .collect(),
            ..row.clone()
        }
    }

    /// `None`: **a head that the library of HTTP/2 cannot read is reset** (RFC 9113 section 8.1.1),
    /// where HTTP/1.1 says 400.
    pub(super) fn send(&self, row: &Row, version: Version) -> Option<Outcome> {
        let before = self.backend.received().len();
        let told = match version {
            Version::Http1 => Some(send_over_http1(&self.menshen, row)),
            Version::Http2 => self.runtime.block_on(send_over_http2(&self.menshen, row)),
        };
        let mut seen = self.backend.received().split_off(before);
        assert!(seen.len() <= 1, "{row:?} came {} times", seen.len());
        assert!(
            told.is_some() || seen.is_empty(),
            "{row:?} was reset and forwarded"
        );
        let (status, fields, body) = told?;
        Some(Outcome::new(
            status,
            fields,
            &body,
            seen.pop(),
            &self.menshen,
        ))
    }

    pub(super) fn send_over_http1(&self, row: &Row) -> Outcome {
        self.send(row, Version::Http1)
            .expect("no stream that can be reset")
    }
}

type Told = (u16, Fields, Vec<u8>);

fn send_over_http1(menshen: &Menshen, row: &Row) -> Told {
    let mut head = format!("{} {} HTTP/1.1\r\n", row.method, row.target);
    if row.fields.iter().all(|(name, _)| *name != "Host") {
        head += &format!("Host: {HOST}\r\n");
    }
    for (name, value) in &row.fields {
        head += &format!("{name}: {value}\r\n");
        if *name == "TE" {
            // **It is of one hop, which HTTP/1.1 has to be told.**
            head.push_str("Connection: TE\r\n");
        }
    }
    match row.sent {
        Nothing => head.push_str("\r\n"),
        Length(body) => head += &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        Open("") => head.push_str("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Open(body) => {
            head += &format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            );
        }
    }
    let mut client = Client::connect(menshen.http);
    client.send(head);
    let answer = client
        .receive_to(row.method)
        .unwrap_or_else(|| panic!("no answer to {row:?}"));
    let fields = by_name(
        answer
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    (answer.status, fields, answer.body)
}

async fn send_over_http2(menshen: &Menshen, row: &Row) -> Option<Told> {
    let host = row
        .fields
        .iter()
        .find(|(name, _)| *name == "Host")
        .map_or(HOST, |(_, host)| host.as_str());
    let pseudo = [
        (":method", row.method),
        (":scheme", "http"),
        (":authority", host),
        (":path", row.target.as_str()),
    ];
    let mut fields: Vec<(String, &str)> = pseudo
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    for (name, value) in row.fields.iter().filter(|(name, _)| *name != "Host") {
        if *name == "Cookie" {
            // **A cookie field is sent in crumbs** (RFC 9113 section 8.2.3).
            fields.extend(value.split("; ").map(|crumb| ("cookie".to_owned(), crumb)));
        } else {
            fields.push((name.to_ascii_lowercase(), value));
        }
    }
    let length;
    let body = match row.sent {
        Nothing => None,
        Length(body) => {
            length = body.len().to_string();
            fields.push(("content-length".to_owned(), &length));
            Some(body.as_bytes())
        }
        Open(body) => Some(body.as_bytes()),
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let client = WrittenHeads::connect(menshen.http).await;
    let answer = match client.ask(&fields, body).await {
        Ok(answer) => answer,
        Err(error) if error.reason() == Some(h2::Reason::PROTOCOL_ERROR) && error.is_reset() => {
            return None;
        }
        Err(error) => panic!("no answer to {row:?}: {error}"),
    };
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut sorted: Fields = BTreeMap::new();
    for (name, value) in &answer.headers {
        sorted
            .entry(name.as_str().to_owned())
            .or_default()
            .push(text(value));
    }
    Some((answer.status, sorted, answer.body))
}

/// Rows that the library of HTTP/2 resets: those with a strange authority.
const MOST_RESET: usize = 3;

/// The parts of two outcomes that are not the same.
pub(super) fn difference(left: &Outcome, right: &Outcome) -> Option<String> {
    fn part<T: PartialEq + std::fmt::Debug>(name: &str, left: &T, right: &T) -> Option<String> {
        (left != right).then(|| format!("{name} {left:?} / {right:?}"))
    }
    let names = |outcome: &Outcome| {
        outcome
            .forwarded
            .as_ref()
            .map(|(line, _, body)| (line.clone(), body.clone()))
    };
    let got = |outcome: &Outcome| {
        outcome
            .forwarded
            .as_ref()
            .map(|(_, fields, _)| fields.clone())
    };
    let parts = [
        part("status", &left.status, &right.status),
        part("fields", &left.fields, &right.fields),
        part("body", &left.body, &right.body),
        part("the backend's line and body", &names(left), &names(right)),
        part("the backend's fields", &got(left), &got(right)),
        part("the log", &left.logged, &right.logged),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Sends the whole table over both protocols and gives each row with what it came to.
fn sent_over_both(world: &World) -> Vec<(Row, Outcome)> {
    let rows = table();
    assert!(rows.len() >= 110, "{} rows", rows.len());
    let (mut differences, mut reset) = (Vec::new(), 0);
    let outcomes = rows.iter().map(|row| {
        let row = world.fill(row);
        let http1 = world.send_over_http1(&row);
        if let Some(mut http2) = world.send(&row, Version::Http2) {
            http2.leave_out_what_was_not_read_of(&http1);
            differences.extend(difference(&http1, &http2).map(|parts| format!("{row:?}: {parts}")));
        } else {
            assert_eq!(
                (http1.status, http1.decision()),
                (400, "refused"),
                "{row:?}: reset over HTTP/2"
            );
            reset += 1;
        }
        (row, http1)
    });
    let outcomes = outcomes.collect();
    assert!(reset <= MOST_RESET, "{reset} were reset");
    assert!(
        differences.is_empty(),
        "HTTP/1.1 on the left, HTTP/2 on the right:\n{}",
        differences.join("\n")
    );
    outcomes
}

/// So many of each decision: a table that only finds refusals finds nothing.
fn assert_variety(outcomes: &[(Row, Outcome)], least: &[(&str, usize)]) {
    for (decision, least) in least {
        let count = outcomes
            .iter()
            .filter(|(_, outcome)| outcome.decision() == *decision)
            .count();
        assert!(count >= *least, "only {count} times {decision}");
    }
}

#[test]
fn a_request_is_decided_the_same_over_both_protocols() {
    let world = World::start("", "");
    let outcomes = sent_over_both(&world);
    assert_variety(
        &outcomes,
        &[
            ("forwarded", 40),
            ("refused", 40),
            ("auth", 8),
            ("preflight", 4),
        ],
    );
    for (row, outcome) in &outcomes {
        assert_eq!(
            outcome.decision() == "forwarded",
            outcome.forwarded.is_some(),
            "{row:?}"
        );
    }
}

#[test]
fn a_gate_that_only_reports_decides_the_same_over_both_protocols() {
    let world = World::start("[gate]\nreport_only = true", "");
    let outcomes = sent_over_both(&world);
    assert_variety(&outcomes, &[("forwarded", 70), ("refused", 10)]);
    let refused = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.logged.contains_key("would_refuse"))
        .count();
    assert!(refused >= 25, "only {refused} would be refused");
}

#[test]
fn what_is_signed_for_the_backend_is_the_same_over_both_protocols() {
    let mint = "[mint]\nsecret = \"q7Zr0vT2mXk9Lw4Bh8NcYs1GdJ5PfAeU\"\nclaims = { user_id = \"{user.id}\" }\n\
                [identity]\nassertion = true";
    let world = World::start(mint, "authorization = \"mint\"\nhost = \"inside.example\"");
    let outcomes = sent_over_both(&world);
    let signed = outcomes
        .iter()
        .filter_map(|(_, outcome)| outcome.forwarded.as_ref());
    let signed = signed.filter(|(_, fields, _)| fields.contains_key("x-auth-assertion"));
    assert!(signed.count() >= 15);
}

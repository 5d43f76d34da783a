//! One decision on one request, however it comes: over HTTP/1.1 and HTTP/2, to the gate itself and
//! by the question of a proxy.
//!
//! Each row of the table is sent in every way. The decision, what the backend gets and what the
//! client is told have to be the same, but for what the protocols themselves make different; each
//! such difference is named below, once.

use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::{
    backend::{Backend, Received},
    menshen::{Menshen, Setup},
    wire::Client,
    written_heads::WrittenHeads,
};

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";
const HOST: &str = "api.example";

const RULES: &str = r#"
[[rule]]
name = "health"
path = "/health"
methods = ["GET"]
access = "public"
[[rule]]
name = "feed"
path = "/feed/**"
access = "optional"
[[rule]]
name = "lenient"
path = "/lenient/**"
access = "optional"
bad_token_is_anonymous = true
[[rule]]
name = "back-office"
path = "/admin/**"
user_types = ["admin"]
[[rule]]
name = "hidden"
path = "/internal/**"
access = "deny"
[[rule]]
name = "pages"
path = "/pages/**"
token_cookie = "at"
cors = true
[[rule]]
name = "files"
path = "/files/**"
access = "public"
allow_encoded = ["%2F", "%25"]
[[rule]]
name = "trial"
path = "/trial/**"
user_types = ["admin"]
report_only = true
[[rule]]
name = "api"
path = "/api/**"
cors = true
[wechat]
legacy_decrypt = true
[cors]
allowed_origins = ["https://shop.example"]
allow_credentials = true
[[dialect]]
kind = "nest"
prefix = "/nest"
[[dialect]]
kind = "success-data"
prefix = "/success"
"#;

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    /// With a `Content-Length`.
    Length(&'static str),
    /// In chunks, or in frames without a `Content-Length`.
    Open(&'static str),
}

use Sent::{Length, Nothing, Open};

/// A request. `{alice}` and `{admin}` are tokens; a field `Host` stands for the usual one.
#[derive(Debug, Clone)]
struct Row {
    method: &'static str,
    target: String,
    fields: Vec<(&'static str, String)>,
    sent: Sent,
}

fn row(method: &'static str, target: &str, fields: &[(&'static str, &str)], sent: Sent) -> Row {
    let fields = fields
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    Row {
        method,
        target: target.to_owned(),
        fields,
        sent,
    }
}

const ALICE: (&str, &str) = ("Authorization", "Bearer {alice}");
const ADMIN: (&str, &str) = ("Authorization", "Bearer {admin}");
const BROKEN: (&str, &str) = ("Authorization", "Bearer a.b.c");
const PREFLIGHT: (&str, &str) = ("Access-Control-Request-Method", "PUT");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const FROM_SHOP: (&str, &str) = ("Origin", SHOP);
const FROM_EVIL: (&str, &str) = ("Origin", EVIL);
const COOKIE: (&str, &str) = ("Cookie", "theme=dark; at={alice}; lang=zh");
/// Headers that are not a client's to send, or only look as if, beside some that are.
#[rustfmt::skip]
const FORGED: [(&str, &str); 25] = [
    ("X-User-Id", "1"), ("x_user_id", "1"), ("X.User.Id", "1"), ("X-User-Role", "admin"), ("X_Auth_State", "authenticated"),
    ("X-Auth-Assertion", "a.b.c"), ("X-Session-Id", "1"), ("X-Client-Type", "app"), ("X-Menshen-Error", "x"),
    ("X-Forwarded-For", "6.6.6.6"), ("X_Forwarded_For", "6.6.6.6"), ("X-Real-IP", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"),
    ("CF-Connecting-IP", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"),
    ("X-Request-Id", "mine"), ("X-WX-OPENID", "o"), ("Content_Length", "5"), ("Transfer_Encoding", "chunked"),
    ("X-Menshen-Secret", "x"), ("X-Kept", "1"), ("X-Kept", "2"), ("Accept", "a"), ("X-Empty", ""),
];

fn table() -> Vec<Row> {
    [
        rows_of_tokens(),
        rows_of_headers(),
        rows_of_targets(),
        rows_of_pages(),
        rows_of_local_routes(),
        rows_at_limits(),
    ]
    .concat()
}

/// Tokens, the rules on them, and bodies.
#[rustfmt::skip]
fn rows_of_tokens() -> Vec<Row> {
    vec![
        // Tokens, and the rules on them.
        row("GET", "/health", &[], Nothing),
        row("GET", "/health?x=1&y=%2F..", &[], Nothing),
        row("GET", "/health", &[BROKEN], Nothing),
        row("HEAD", "/health", &[], Nothing),
        row("POST", "/health", &[], Length("body")),
        row("GET", "/health/", &[], Nothing),
        row("GET", "/Health", &[ALICE], Nothing),
        row("GET", "/feed/1", &[], Nothing),
        row("GET", "/feed/1", &[ALICE], Nothing),
        row("GET", "/feed/1", &[BROKEN], Nothing),
        row("GET", "/feed/1", &[("Authorization", "")], Nothing),
        row("GET", "/feed/1", &[("Authorization", "Basic eDp5")], Nothing),
        row("GET", "/feed/1", &[("Authorization", "bearer   {alice}")], Nothing),
        row("GET", "/feed/1", &[("Authorization", "{alice}")], Nothing),
        row("GET", "/feed/1", &[ALICE, ALICE], Nothing),
        row("GET", "/lenient/1", &[BROKEN], Nothing),
        row("GET", "/x", &[], Nothing),
        row("GET", "/x", &[ALICE], Nothing),
        row("GET", "/x", &[BROKEN], Nothing),
        row("GET", "/admin/x", &[], Nothing),
        row("GET", "/admin/x", &[ALICE], Nothing),
        row("DELETE", "/admin/x", &[ADMIN], Nothing),
        row("GET", "/ADMIN/x", &[ALICE], Nothing),
        row("GET", "/internal/x", &[ADMIN], Nothing),
        // Bodies.
        row("POST", "/x", &[ALICE, JSON], Length("{\"a\": 1}")),
        row("PUT", "/x", &[ALICE], Open("a body")),
        row("PATCH", "/x", &[ALICE], Open("")),
        row("POST", "/x", &[ALICE], Length("")),
        row("POST", "/x", &[], Open("a body that nobody reads")),
        row("DELETE", "/x", &[ALICE], Length("why")),
        row("POST", "/admin/x", &[ALICE], Length("a body that nobody reads")),
    ]
}

/// What a client may not send.
#[rustfmt::skip]
fn rows_of_headers() -> Vec<Row> {
    let and = |more: &[(&'static str, &'static str)]| [&FORGED[..], more].concat();
    vec![
        // Forged headers, on every kind of rule.
        row("GET", "/health", &FORGED, Nothing),
        row("GET", "/x", &and(&[ALICE]), Nothing),
        row("POST", "/x", &and(&[ALICE]), Length("body")),
        row("GET", "/x", &FORGED, Nothing),
        row("POST", "/trial/x", &and(&[ALICE]), Open("body")),
        row("GET", "/health", &[("X-Original-URL", "/internal/x"), ("X-Rewrite-URL", "/internal/x"), ("X-HTTP-Method-Override", "DELETE")], Nothing),
        row("GET", "/trial/x", &[("X-Original-URL", "/internal/x"), ("X-HTTP-Method-Override", "DELETE")], Nothing),
        row("GET", "/health", &[("TE", "trailers")], Nothing),
        row("GET", "/health", &[("Keep-Alive-Not", "1"), ("Trailer", "X-User-Id"), ("Via", "1.1 proxy")], Nothing),
    ]
}

/// Paths, queries and methods.
#[rustfmt::skip]
fn rows_of_targets() -> Vec<Row> {
    vec![
        // Targets.
        row("GET", "/", &[ALICE], Nothing),
        row("GET", "/health/../admin/x", &[ALICE], Nothing),
        row("GET", "/health/%2e%2e/admin/x", &[ALICE], Nothing),
        row("GET", "/health/.%2E/", &[], Nothing),
        row("GET", "//health", &[], Nothing),
        row("GET", "/feed//x", &[], Nothing),
        row("GET", "/feed/a;b=c", &[], Nothing),
        row("GET", "/feed/a%2fb", &[], Nothing),
        row("GET", "/feed/a%5cb", &[], Nothing),
        row("GET", "/feed/%00", &[], Nothing),
        row("GET", "/feed/100%", &[], Nothing),
        row("GET", "/feed/%252e%252e/x", &[], Nothing),
        row("GET", "/%66eed/x", &[], Nothing),
        row("GET", "/feed/%c0%ae", &[], Nothing),
        row("GET", "/feed/%E4%BD%A0?%zz;//..", &[], Nothing),
        row("GET", "/feed/~x/(1)/@a:b,c='d'!*$&+", &[], Nothing),
        row("GET", "/files/group%2Fproject", &[], Nothing),
        row("GET", "/files/..%2Fadmin", &[], Nothing),
        row("GET", "/files/100%25", &[], Nothing),
        row("GET", "/%20admin/x", &[ALICE], Nothing),
        row("GET", "*", &[], Nothing),
        // Methods.
        row("OPTIONS", "/feed/x", &[], Nothing),
        row("TRACE", "/health", &[], Nothing),
        row("TRACK", "/health", &[], Nothing),
        row("PROPFIND", "/x", &[ALICE], Nothing),
        row("get", "/health", &[], Nothing),
        row("TRACE", "/auth/me", &[], Nothing),
    ]
}

/// Requests of browsers.
#[rustfmt::skip]
fn rows_of_pages() -> Vec<Row> {
    vec![
        // Cookies.
        row("GET", "/pages/1", &[COOKIE], Nothing),
        row("GET", "/pages/1", &[("Cookie", "at=")], Nothing),
        row("GET", "/pages/1", &[("Cookie", "at=a.b.c")], Nothing),
        row("GET", "/pages/1", &[("Cookie", "at={alice}; at={alice}")], Nothing),
        row("GET", "/pages/1", &[COOKIE, ALICE], Nothing),
        row("POST", "/pages/1", &[COOKIE, ("Sec-Fetch-Site", "same-origin")], Length("body")),
        row("POST", "/pages/1", &[COOKIE, ("Sec-Fetch-Site", "cross-site")], Length("body")),
        row("POST", "/pages/1", &[COOKIE, FROM_SHOP], Length("body")),
        row("POST", "/pages/1", &[COOKIE, FROM_EVIL], Length("body")),
        row("POST", "/pages/1", &[COOKIE], Length("body")),
        row("GET", "/feed/1", &[COOKIE], Nothing),
        // Pages of other origins.
        row("OPTIONS", "/api/orders", &[FROM_SHOP, PREFLIGHT], Nothing),
        row("OPTIONS", "/api/orders", &[FROM_EVIL, PREFLIGHT], Nothing),
        row("OPTIONS", "/api/a//b", &[FROM_SHOP, PREFLIGHT], Nothing),
        row("OPTIONS", "/auth/me", &[FROM_SHOP, PREFLIGHT], Nothing),
        row("OPTIONS", "/feed/x", &[FROM_SHOP, PREFLIGHT], Nothing),
        row("OPTIONS", "/api/orders", &[FROM_SHOP], Nothing),
        row("GET", "/api/orders", &[FROM_SHOP], Nothing),
        row("GET", "/api/orders", &[FROM_SHOP, ALICE], Nothing),
        row("GET", "/api/a%2fb", &[FROM_SHOP], Nothing),
        row("GET", "/auth/me", &[FROM_EVIL], Nothing),
    ]
}

/// What is answered here, and what only reports.
#[rustfmt::skip]
fn rows_of_local_routes() -> Vec<Row> {
    vec![
        // Rules that only report.
        row("GET", "/trial/x", &[], Nothing),
        row("GET", "/trial/x", &[BROKEN], Nothing),
        row("POST", "/trial/x", &[ALICE], Length("body")),
        row("GET", "/trial/x", &[ADMIN], Nothing),
        row("GET", "/TRIAL/x", &[ALICE], Nothing),
        row("GET", "/trial/../x", &[ALICE], Nothing),
        // The auth API and the dialects.
        row("GET", "/auth/nothing", &[], Nothing),
        row("PUT", "/auth/wechat/login", &[], Nothing),
        row("POST", "/auth/wechat/login", &[JSON], Length("{\"code\": 1}")),
        row("POST", "/auth/wechat/login", &[JSON], Open("not JSON")),
        row("GET", "/auth/me", &[ALICE], Nothing),
        row("HEAD", "/auth/jwks.json", &[], Nothing),
        row("GET", "/auth/../x", &[ALICE], Nothing),
        row("GET", "/nest/x", &[], Nothing),
        row("GET", "/nest/x", &[BROKEN], Nothing),
        row("POST", "/nest/auth/wx-login", &[JSON], Length("{}")),
        row("GET", "/nest/auth/wx-login", &[], Nothing),
        row("GET", "/success/a;b", &[], Nothing),
        row("GET", "/success/x", &[], Nothing),
    ]
}

/// What may be there once, and what has a limit.
#[rustfmt::skip]
fn rows_at_limits() -> Vec<Row> {
    let many = vec![("X-A", "1"); 101];
    let one_more = vec![("X-A", "1"); 100];
    let just = vec![("X-A", "1"); 90];
    let long = "x".repeat(17 * 1024);
    vec![
        // Fields that may be there once, hosts, lengths, limits.
        row("GET", "/health", &[("Content-Type", "a"), ("Content-Type", "b")], Nothing),
        row("GET", "/health", &[("Host", "a/b")], Nothing),
        row("GET", "/health", &[("Host", "a, b")], Nothing),
        row("GET", "/health", &[("Host", "a:99999")], Nothing),
        row("GET", "/health", &[("Host", "[::1]:80")], Nothing),
        row("GET", "/health", &[("Expect", "something")], Nothing),
        row("GET", "/health", &[("Expect", "100-continue")], Nothing),
        row("GET", "/health", &[("X-A", &long)], Nothing),
        row("GET", &format!("/feed/{long}"), &[], Nothing),
        row("GET", "/health", &many, Nothing),
        row("GET", "/health", &one_more, Nothing),
        row("GET", "/health", &just, Nothing),
        row("GET", "/feed/1", &[("Authorization", &format!("Bearer {}", &long[..9000]))], Nothing),
    ]
}

/// The fields of a message, by their names.
type Fields = BTreeMap<String, Vec<String>>;
/// First line, fields and body.
type Forwarded = (String, Fields, Vec<u8>);

/// What a row came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    status: u16,
    /// Fields of the answer.
    fields: Fields,
    body: String,
    /// What the backend got: its first line, its fields and its body.
    forwarded: Option<Forwarded>,
    /// What the access log says of it.
    logged: BTreeMap<String, Value>,
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

    fn decision(&self) -> &str {
        self.logged["decision"].as_str().expect("a decision")
    }

    fn error(&self) -> Option<&str> {
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
enum Version {
    Http1,
    Http2,
}

struct World {
    backend: Backend,
    menshen: Menshen,
    runtime: Runtime,
    tokens: Vec<(&'static str, String)>,
}

impl World {
    fn start(more: &str, upstream: &str) -> Self {
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
    fn fill(&self, row: &Row) -> Row {
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
    fn send(&self, row: &Row, version: Version) -> Option<Outcome> {
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

    fn send_over_http1(&self, row: &Row) -> Outcome {
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
            )
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
fn difference(left: &Outcome, right: &Outcome) -> Option<String> {
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

/// How a proxy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proxy {
    Nginx,
    Traefik,
    Envoy,
}

impl Proxy {
    const fn dialect(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Traefik => "traefik",
            Self::Envoy => "envoy",
        }
    }

    /// The question about a row, without its body, as these proxies send it: their own fields
    /// replace the client's.
    fn question(self, row: &Row) -> Row {
        let own: &[(&'static str, &str)] = match self {
            Self::Nginx => &[
                ("X-Original-Method", row.method),
                ("X-Original-URI", &row.target),
            ],
            Self::Traefik => &[
                ("X-Forwarded-Method", row.method),
                ("X-Forwarded-Uri", &row.target),
            ],
            Self::Envoy => &[],
        };
        let kept = row
            .fields
            .iter()
            .filter(|(name, _)| own.iter().all(|(own, _)| !own.eq_ignore_ascii_case(name)));
        // What is of the client's own hop stays there.
        let kept = kept
            .filter(|(name, _)| !["TE", "Expect"].contains(name))
            .cloned();
        let fields = own
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain(kept)
            .collect();
        let (method, target) = match self {
            Self::Nginx | Self::Traefik => ("GET", "/auth/verify".to_owned()),
            Self::Envoy => (row.method, format!("/auth/verify{}", row.target)),
        };
        Row {
            method,
            target,
            fields,
            sent: Nothing,
        }
    }
}

/// Whether a proxy would come to ask about a row: **what is no request of HTTP it refuses itself,
/// or its question is none either; what menshen answers itself is sent here unasked; and what has
/// to fit into a question with it has less room there.**
fn can_be_asked(proxy: Proxy, row: &Row, direct: &Outcome) -> bool {
    let unreadable = match direct.error() {
        Some("request_malformed") => direct.logged["rule"] == "none",
        // Envoy asks with the method itself.
        Some("method_not_allowed") => proxy == Proxy::Envoy,
        _ => false,
    };
    let limited = row.fields.len() > 80 || row.target.len() > 8000;
    let own = ["auth", "preflight"].contains(&direct.decision());
    !unreadable && !limited && !own && row.target.starts_with('/')
}

/// What a row comes to where a proxy asks, given what it comes to where the gate itself forwards.
fn assert_same_answer(proxy: Proxy, row: &Row, direct: &Outcome, asked: &Outcome) {
    let name = format!("{proxy:?}: {row:?}\n{direct:?}\n{asked:?}");
    assert!(asked.forwarded.is_none(), "{name}");
    // **An answer to a proxy has no body**, and nginx takes a status other than 401 and 403 for a
    // failure.
    assert_eq!(asked.body, "", "{name}");
    // **A path that could be read in two ways is refused to a proxy also where everything reports**
    // (decision record 0016).
    let ambiguous = direct
        .logged
        .get("would_refuse")
        .is_some_and(|code| code == "path_ambiguous");
    if ambiguous {
        assert_eq!(
            (asked.status, asked.error()),
            (403, Some("path_ambiguous")),
            "{name}"
        );
        return;
    }
    if direct.decision() == "forwarded" {
        assert_eq!(
            (asked.status, asked.decision()),
            (200, "verified"),
            "{name}"
        );
        let (_, got, _) = direct.forwarded.as_ref().expect("forwarded");
        for field in [
            "x-user-id",
            "x-user-type",
            "x-session-id",
            "x-client-type",
            "x-auth-state",
        ] {
            // **A proxy forwards what the client sent**, so where the gate itself would let a
            // client's own field pass because it only reports, there is nothing to say.
            assert_eq!(got.get(field), asked.fields.get(field), "{field} {name}");
        }
    } else {
        let status = if direct.status == 401 { 401 } else { 403 };
        assert_eq!(
            (asked.status, asked.decision()),
            (status, "refused"),
            "{name}"
        );
        assert_eq!(direct.error(), asked.error(), "{name}");
        assert_eq!(asked.fields.get("x-user-id"), None, "{name}");
        if status == 401 {
            assert_eq!(
                direct.fields.get("www-authenticate"),
                asked.fields.get("www-authenticate"),
                "{name}"
            );
        }
    }
    // **A question that is refused before any rule was asked** is logged as the question that it
    // is.
    let asked_about: &[_] = if direct.logged["rule"] == "none" {
        &[]
    } else {
        &["path", "method"]
    };
    for key in ["rule", "error", "would_refuse", "user"]
        .iter()
        .chain(asked_about)
    {
        let key = *key;
        assert_eq!(
            direct.logged.get(key),
            asked.logged.get(key),
            "{key} {name}"
        );
    }
}

/// **A proxy that asks may have kept to itself where a request is from**, so a cookie of a page
/// that does not say so counts for less.
fn counts_for_less(row: &Row) -> bool {
    let has = |wanted: &str| row.fields.iter().any(|(name, _)| *name == wanted);
    row.method == "POST" && has("Cookie") && !has("Origin") && !has("Sec-Fetch-Site")
}

/// Each row directly and by the question of this proxy, whether the gate refuses or only reports.
fn is_decided_the_same_for(proxy: Proxy) {
    for (gate, least) in [("", 75), ("[gate]\nreport_only = true", 60)] {
        // Identity fields of clients are the proxy's to remove, which these promise.
        let config = format!(
            "{gate}\n[forward_auth]\nenabled = true\ndialect = \"{}\"\ntrusted_callers = [\"127.0.0.1/32\"]\n\
                 forged_headers = \"ignore\"",
            proxy.dialect()
        );
        let world = World::start(&config, "");
        let mut compared = 0;
        for row in table() {
            let row = world.fill(&row);
            let direct = world.send_over_http1(&row);
            if !can_be_asked(proxy, &row, &direct) {
                continue;
            }
            let question = proxy.question(&row);
            let asked = world.send_over_http1(&question);
            let over_http2 = world.send(&question, Version::Http2).expect("an answer");
            let parts = difference(&asked, &over_http2);
            assert!(
                parts.is_none(),
                "HTTP/1.1 on the left, HTTP/2 on the right: {question:?}: {parts:?}"
            );
            compared += 1;
            if counts_for_less(&row) {
                assert_eq!(
                    gate.is_empty(),
                    asked.status == 403,
                    "{question:?}: {asked:?}"
                );
                continue;
            }
            assert_same_answer(proxy, &row, &direct, &asked);
        }
        assert!(compared >= least, "{proxy:?}: only {compared}");
    }
}

#[test]
fn a_request_is_decided_the_same_where_nginx_asks() {
    is_decided_the_same_for(Proxy::Nginx);
}

#[test]
fn a_request_is_decided_the_same_where_traefik_asks() {
    is_decided_the_same_for(Proxy::Traefik);
}

#[test]
fn a_request_is_decided_the_same_where_envoy_asks() {
    is_decided_the_same_for(Proxy::Envoy);
}

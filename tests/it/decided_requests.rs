//! The requests on which the decision has to be the same, however they come: tokens, headers,
//! targets, pages of browsers, local routes and limits, with the rules that they meet.

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";
pub(super) const HOST: &str = "api.example";

pub(super) const RULES: &str = r#"
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
name = "team"
path = "/team/**"
token_header = "X_Team"
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
access_token = "header.x-nest"
[[dialect]]
kind = "success-data"
prefix = "/success"
"#;

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    /// With a `Content-Length`.
    Length(&'static str),
    /// In chunks, or in frames without a `Content-Length`.
    Open(&'static str),
}

use Sent::{Length, Nothing, Open};

/// A request. `{alice}` and `{admin}` are tokens; a field `Host` stands for the usual one.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) sent: Sent,
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

pub(super) fn table() -> Vec<Row> {
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
        // In a header of the team's own.
        row("GET", "/team/1", &[("x_team", "{alice}")], Nothing),
        row("POST", "/team/1", &[("X_TEAM", "Bearer {alice}"), ("X-Team", "another")], Length("body")),
        row("GET", "/team/1", &[("X_Team", "{alice}"), ALICE], Nothing),
        row("GET", "/team/1", &[("X_Team", "{alice}"), ("X_Team", "{alice}")], Nothing),
        row("GET", "/team/1", &[("X_Team", "a.b.c")], Nothing),
        row("GET", "/team/1", &[("X_Team", "")], Nothing),
        row("GET", "/feed/1", &[("X_Team", "{alice}")], Nothing),
        row("GET", "/nest/x", &[("x-nest", "{alice}")], Nothing),
        row("GET", "/nest/x", &[("x-nest", "{alice}"), ("authorization", "Bearer a")], Nothing),
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

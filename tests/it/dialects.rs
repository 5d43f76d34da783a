//! The gate in the shape of a dialect: what it refuses under a prefix, and which requests it
//! answers itself.

use std::{net::SocketAddr, thread, time::Duration};

use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer, Client},
};

/// Each dialect under a prefix of its own.
const ALL: &str = "[[dialect]]\nkind = \"nest\"\nprefix = \"/nest\"\n[[dialect]]\nkind = \"simplejwt\"\nprefix = \"/jwt\"\n\
                   [[dialect]]\nkind = \"success-data\"\nprefix = \"/success\"\n[[dialect]]\nkind = \"code-data\"\nprefix = \"/code\"\n\
                   [wechat]\nlegacy_decrypt = true\n";
const PREFIXES: [&str; 4] = ["/nest", "/jwt", "/success", "/code"];

/// A refusal without the time in it.
fn refused(answer: &Answer) -> (u16, &str, Value) {
    assert_eq!(
        answer.header("Content-Type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let mut body = answer.json();
    if let Some(time) = body
        .as_object_mut()
        .and_then(|body| body.remove("timestamp"))
    {
        let time = time.as_str().expect("a text").to_owned();
        assert!(
            time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{time}"
        );
    }
    (answer.status, answer.error().expect("a code"), body)
}

/// The same refusal in the four shapes, in the order of [`PREFIXES`].
fn shapes(
    status: u16,
    reason: &str,
    code: &str,
    zh: &str,
    short: &str,
    detail: Value,
) -> [Value; 4] {
    [
        json!({ "code": status, "message": zh, "error": reason }),
        detail,
        json!({ "success": false, "message": zh, "error": { "code": code } }),
        json!({ "code": status, "error": short }),
    ]
}

fn detail(text: &str) -> Value {
    json!({ "detail": text })
}

#[test]
fn refusals_under_a_prefix_have_the_shape_of_its_dialect() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(ALL)
        .with("[[rule]]\nname = \"office\"\npath = \"/*/office\"\nuser_types = [\"admin\"]")
        .start();
    let token = menshen.token("alice");
    let bearer = format!("Bearer {token}");
    let not_valid = |message: &str| {
        json!({
            "detail": "Given token not valid for any token type",
            "code": "token_not_valid",
            "messages": [{ "token_class": "AccessToken", "token_type": "access", "message": message }],
        })
    };
    let missing = "Authentication credentials were not provided.";
    for (path, headers, status, code, expected) in [
        (
            "/x",
            vec![],
            401,
            "token_missing",
            shapes(
                401,
                "Unauthorized",
                "token_missing",
                "请先登录",
                "没有提供 token",
                detail(missing),
            ),
        ),
        (
            "/x",
            vec![("Authorization", "Bearer a.b.c")],
            401,
            "token_invalid",
            shapes(
                401,
                "Unauthorized",
                "token_invalid",
                "登录凭证无效，请重新登录",
                "无效的 token",
                not_valid("Token is invalid"),
            ),
        ),
        (
            "/office",
            vec![("Authorization", bearer.as_str())],
            403,
            "forbidden",
            shapes(
                403,
                "Forbidden",
                "forbidden",
                "没有权限执行此操作",
                "没有权限执行此操作",
                detail("You do not have permission to perform this action."),
            ),
        ),
        (
            "/a/../x",
            vec![],
            400,
            "path_ambiguous",
            shapes(
                400,
                "Bad Request",
                "path_ambiguous",
                "请求格式有误",
                "请求格式有误",
                Value::Null,
            ),
        ),
    ] {
        for (prefix, expected) in PREFIXES.into_iter().zip(expected) {
            let answer = menshen.get(&format!("{prefix}{path}"), &headers);
            let (got, said, body) = refused(&answer);
            assert_eq!((got, said), (status, code), "{prefix}{path}");
            if !expected.is_null() {
                assert_eq!(body, expected, "{prefix}{path}");
            }
            assert_eq!(
                answer.header("WWW-Authenticate").is_some(),
                status == 401 || status == 403,
                "{prefix}{path}"
            );
        }
    }
    // Elsewhere it is a problem document, also where a name only begins like a prefix.
    for path in ["/x", "/nested", "/codes/x", "/auth/me"] {
        let answer = menshen.get(path, &[]);
        assert_eq!(
            answer.header("Content-Type"),
            Some("application/problem+json"),
            "{path}"
        );
    }
    assert!(backend.received().is_empty());
}

/// A backend that is not there, one that says nothing, and one that ends at once.
#[test]
fn failures_of_the_backend_have_the_shape_too() {
    let silent = Backend::answering(|_, _| {
        thread::sleep(Duration::from_millis(600));
        false
    });
    let closing = Backend::answering(|_, _| false);
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let zh = ["服务暂时不可用，请稍后再试", "服务响应超时，请稍后再试"];
    let en = [
        "The service behind is not reachable.",
        "The service behind did not answer in time.",
    ];
    for (address, status, reason, code, n) in [
        (nobody, 502, "Bad Gateway", "upstream_unavailable", 0),
        (
            closing.address,
            502,
            "Bad Gateway",
            "upstream_unavailable",
            0,
        ),
        (
            silent.address,
            504,
            "Gateway Timeout",
            "upstream_timeout",
            1,
        ),
    ] {
        let menshen = before(address);
        let bearer = format!("Bearer {}", menshen.token("alice"));
        let expected = shapes(status, reason, code, zh[n], zh[n], detail(en[n]));
        for (prefix, expected) in PREFIXES.into_iter().zip(expected) {
            let path = format!("{prefix}/x");
            // A request with a body goes the long way.
            let get = menshen.get(&path, &[("Authorization", &bearer)]);
            let post = menshen.post(&path, &[("Authorization", &bearer)], &json!({}));
            for answer in [get, post] {
                assert_eq!(refused(&answer), (status, code, expected.clone()), "{path}");
            }
        }
    }
}

fn before(upstream: SocketAddr) -> Menshen {
    Setup::before(upstream)
        .with(&format!(
            "[upstream]\nurls = [\"http://{upstream}\"]\nread_timeout = \"300ms\""
        ))
        .with(ALL)
        .start()
}

#[test]
fn a_store_that_is_full_is_a_503_in_the_shape() {
    let backend = Backend::start();
    let mut menshen = Setup::before(backend.address)
        .with(ALL)
        .after_shell("trap '' XFSZ\nulimit -f 1100")
        .start();
    menshen.expect_error("the store failed");
    let token = menshen.token("early");
    let full = (0..2000).map(|n| {
        menshen.post(
            "/nest/auth/wx-login",
            &[],
            &json!({ "code": format!("user-{n}") }),
        )
    });
    let answer = full
        .into_iter()
        .find(|answer| answer.status != 200)
        .expect("a disk that gets full");
    let expected =
        json!({ "code": 503, "message": "服务繁忙，请稍后再试", "error": "Service Unavailable" });
    assert_eq!(refused(&answer), (503, "store_unavailable", expected));
    assert!(answer.header("Retry-After").is_some());
    let detail = menshen.post("/jwt/login/", &[], &json!({ "code": "late" }));
    assert_eq!(
        refused(&detail),
        (
            503,
            "store_unavailable",
            json!({ "detail": "Please try again in a moment." })
        )
    );
    assert_eq!(
        menshen
            .get("/x", &[("Authorization", &format!("Bearer {token}"))])
            .status,
        200,
        "tokens go on being checked"
    );
}

#[test]
fn too_many_logins_are_a_429_with_the_wait() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(ALL)
        .with("[limits]\nlogin_per_ip = \"1/1m\"")
        .start();
    assert_eq!(
        menshen
            .post("/nest/auth/wx-login", &[], &json!({ "code": "a" }))
            .status,
        200
    );
    for (path, message) in [
        ("/nest/auth/wx-login", "/message"),
        ("/jwt/login/", "/detail"),
        ("/success/login", "/message"),
        ("/code/wechatlogin", "/error"),
    ] {
        let answer = menshen.post(path, &[], &json!({ "code": "b" }));
        let wait = answer.header("Retry-After").expect("a wait").to_owned();
        let (status, code, body) = refused(&answer);
        assert_eq!((status, code), (429, "rate_limited"), "{path}");
        let text = body
            .pointer(message)
            .and_then(Value::as_str)
            .expect("a message")
            .to_owned();
        match path {
            "/code/wechatlogin" => assert_eq!(text, format!("请在{wait}秒后再试")),
            "/jwt/login/" => assert_eq!(
                text,
                format!("Request was throttled. Expected available in {wait} seconds.")
            ),
            _ => assert_eq!(text, "请求过于频繁，请稍后再试"),
        }
    }
}

/// Only the method and path of a route are menshen's; everything beside them is the backend's, by
/// the rules.
#[test]
fn what_is_no_route_goes_to_the_backend() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(ALL).start();
    let bearer = format!("Bearer {}", menshen.token("alice"));
    for (method, path) in [
        ("GET", "/nest/auth/wx-login"),
        ("PUT", "/nest/auth/wx-login"),
        ("POST", "/nest/auth/wx-login/"),
        ("POST", "/nest/auth/WX-login"),
        ("POST", "/jwt/login"),
        ("POST", "/nest/auth/profile"),
        ("OPTIONS", "/code/login"),
    ] {
        let before = backend.received().len();
        assert_eq!(
            wire::ask(menshen.http, method, path, &[], b"").status,
            401,
            "{method} {path} without a token"
        );
        assert_eq!(backend.received().len(), before);
        let answer = wire::ask(
            menshen.http,
            method,
            path,
            &[("Authorization", &bearer)],
            b"",
        );
        assert_eq!(answer.status, 200, "{method} {path}");
        assert_eq!(backend.last().line, format!("{method} {path} HTTP/1.1"));
    }
    // Another spelling of a route's path is no way around anything.
    for path in [
        "/nest/auth/wx%2dlogin",
        "/nest//auth/wx-login",
        "/nest/./auth/wx-login",
        "/nest/auth/wx-login;x",
    ] {
        let answer = wire::ask(menshen.http, "POST", path, &[], b"");
        assert!(
            matches!(answer.status, 400 | 401),
            "{path}: {}",
            answer.status
        );
    }
}

#[test]
fn a_token_may_stand_alone_where_its_dialect_says_so() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(ALL).start();
    let token = menshen.token("alice");
    for (path, status) in [
        ("/code/orders", 200),
        ("/code", 200),
        ("/nest/orders", 401),
        ("/codes", 401),
        ("/orders", 401),
    ] {
        let answer = menshen.get(path, &[("Authorization", &token)]);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(
            menshen
                .get(path, &[("Authorization", &format!("Bearer {token}"))])
                .status,
            200,
            "{path}"
        );
    }
    let before = backend.received().len();
    assert_eq!(
        menshen
            .get(
                "/code/x",
                &[("Authorization", &token), ("Authorization", &token)]
            )
            .status,
        400
    );
    for value in [
        format!("{token} x"),
        format!("Token {token}"),
        "x".to_owned(),
        token[..token.len() - 2].to_owned(),
    ] {
        assert_eq!(
            menshen.get("/code/x", &[("Authorization", &value)]).status,
            401,
            "{value}"
        );
    }
    assert_eq!(backend.received().len(), before, "none of them arrived");
    assert_eq!(
        backend.last().folded("authorization"),
        [""; 0],
        "and the token stays here"
    );
}

#[test]
fn a_body_that_breaks_off_or_is_too_long_is_refused_in_the_shape() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(ALL).start();
    let head = "POST /nest/auth/wx-login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let mut client = Client::connect(menshen.http);
    client.send(format!("{head}Content-Length: 20000\r\n\r\n"));
    let answer = client.receive().expect("an answer");
    let expected = json!({ "code": 413, "message": "请求内容过大", "error": "Payload Too Large" });
    assert_eq!(refused(&answer), (413, "body_too_large", expected));
    let mut client = Client::connect(menshen.http);
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n"));
    let answer = client.receive().expect("an answer");
    assert_eq!(
        (answer.status, answer.json()["message"].clone()),
        (400, json!("请求格式有误"))
    );
}

/// A cloud function may hand on `Expect`, an odd case of a header, or a body in chunks.
#[test]
fn a_login_arrives_however_it_is_framed() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(ALL).start();
    for body in [
        "Content-Length: 14\r\n\r\n{\"code\":\"a-1\"}",
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"code\"\r\n7\r\n:\"a-2\"}\r\n0\r\n\r\n",
    ] {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST /nest/auth/wx-login HTTP/1.1\r\nhOST: a\r\ncontent-TYPE: application/json;charset=UTF-8\r\n{body}"
        ));
        assert_eq!(client.receive().expect("an answer").status, 200);
    }
    assert!(backend.received().is_empty());
}

/// The same header fields on the three ways to a refusal: the router's, the gate's, and pingora's.
#[test]
fn a_shape_has_its_header_fields_once_wherever_it_is_written() {
    let nobody = wire::Nobody::new();
    let menshen = Setup::before(nobody.address)
        .with(&format!("[upstream]\nurls = [\"http://{}\"]\nconnect_timeout = \"30s\"", nobody.address))
        .with(
            "[[dialect]]\nkind = \"custom\"\nprefix = \"/x\"\n[[dialect.route]]\nmethod = \"POST\"\npath = \"/in\"\naction = \"wechat_login\"\n\
             inputs = { code = \"body.code\" }\n[[dialect.error]]\nheaders = { X-Why = \"{code}\", X-Zh = \"不行\" }\nbody = '\"no\"'",
        )
        .start();
    let bearer = format!("Bearer {}", menshen.token("alice"));
    for (answer, code) in [
        (menshen.post("/x/in", &[], &json!({})), "validation_failed"),
        (menshen.get("/x/y", &[]), "token_missing"),
        (
            menshen.get("/x/y", &[("Authorization", &bearer)]),
            "upstream_unavailable",
        ),
        (
            menshen.post("/x/y", &[("Authorization", &bearer)], &json!({})),
            "upstream_unavailable",
        ),
    ] {
        assert_eq!(
            (answer.error(), answer.header("X-Why")),
            (Some(code), Some(code))
        );
        assert_eq!(
            (answer.header("X-Zh"), answer.header("Cache-Control")),
            (Some("不行"), Some("no-store")),
            "{code}"
        );
        assert_eq!(answer.json(), "no");
    }
}

//! Where a token may stand besides `Authorization`: in a cookie, and in the query of a WebSocket
//! handshake, where a rule says so.

use std::io::Write;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer, Client},
};

const RULES: &str = r#"
[[rule]]
name = "open"
path = "/open/**"
access = "public"
[[rule]]
name = "pages"
path = "/pages/**"
token_cookie = "at"
[[rule]]
name = "socket"
path = "/ws"
token_in_query = true
[cors]
allowed_origins = ["https://admin.example"]
allow_credentials = true
"#;

fn started() -> (Backend, Menshen) {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(RULES).start();
    (backend, menshen)
}

fn code(answer: &Answer) -> (u16, &str) {
    (
        answer.status,
        answer.header("X-Menshen-Error").unwrap_or_default(),
    )
}

#[test]
fn a_cookie_counts_where_the_rule_says_so_and_is_not_sent_on() {
    let (backend, menshen) = started();
    let (token, user) = (
        menshen.token("alice"),
        menshen.login("alice")["user"]["id"].clone(),
    );
    let cookie = format!("theme=dark; at={token}; lang=zh");

    assert_eq!(menshen.get("/pages/1", &[("Cookie", &cookie)]).status, 200);
    let seen = backend.last();
    assert_eq!(seen.folded("x-user-id"), [user.as_str().expect("an id")]);
    assert_eq!(seen.folded("cookie"), ["theme=dark; lang=zh"]);
    assert!(
        !seen.head.contains(&token) && !seen.line.contains(&token),
        "the backend does not get it"
    );
    // On the long way too.
    let posted = wire::ask(
        menshen.http,
        "POST",
        "/pages/1",
        &[("Cookie", &cookie)],
        b"body",
    );
    assert_eq!(
        (posted.status, backend.last().folded("cookie")),
        (200, vec!["theme=dark; lang=zh".to_owned()])
    );
    assert_eq!(
        (
            backend.last().body,
            backend.last().folded("x-user-id").len()
        ),
        (b"body".to_vec(), 1)
    );
    // Nothing is left of a cookie that stood alone, and nothing of it arrives where it does not
    // count.
    assert_eq!(
        menshen
            .get("/pages/1", &[("Cookie", &format!("at={token}"))])
            .status,
        200
    );
    assert_eq!(backend.last().folded("cookie"), Vec::<String>::new());
    assert_eq!(menshen.get("/open/1", &[("Cookie", &cookie)]).status, 200);
    assert_eq!(backend.last().folded("cookie"), ["theme=dark; lang=zh"]);
    assert_eq!(
        backend.last().folded("x-user-id"),
        Vec::<String>::new(),
        "a public path looks at no token"
    );

    let before = backend.received().len();
    for (path, headers, expected) in [
        (
            "/other",
            vec![("Cookie", cookie.clone())],
            (401, "token_missing"),
        ),
        (
            "/pages/1",
            vec![("Cookie", "at=a.b.c".to_owned())],
            (401, "token_invalid"),
        ),
        (
            "/pages/1",
            vec![("Cookie", format!("at=\"{token}\""))],
            (401, "token_invalid"),
        ),
        (
            "/pages/1",
            vec![
                ("Cookie", cookie.clone()),
                ("Authorization", format!("Bearer {token}")),
            ],
            (400, "request_malformed"),
        ),
        (
            "/pages/1",
            vec![("Cookie", format!("{cookie}; at={token}"))],
            (400, "request_malformed"),
        ),
    ] {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(code(&menshen.get(path, &headers)), expected, "{path}");
    }
    assert_eq!(
        backend.received().len(),
        before,
        "nothing that is refused arrives"
    );
}

#[test]
fn a_page_of_another_site_does_nothing_with_a_cookie() {
    let (backend, menshen) = started();
    let cookie = format!("at={}", menshen.token("alice"));
    let post = |page: &[(&str, &str)]| {
        wire::ask(
            menshen.http,
            "POST",
            "/pages/1",
            &[&[("Cookie", cookie.as_str())], page].concat(),
            b"x",
        )
    };
    for page in [
        &[("Origin", "https://evil.example")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
    ] {
        assert_eq!(code(&post(page)), (403, "forbidden"), "{page:?}");
    }
    assert!(backend.received().is_empty());
    for page in [
        &[("Sec-Fetch-Site", "same-origin")][..],
        &[
            ("Origin", "https://admin.example"),
            ("Sec-Fetch-Site", "cross-site"),
        ],
        &[],
    ] {
        assert_eq!(post(page).status, 200, "{page:?}");
    }
}

#[test]
fn a_websocket_may_bring_its_token_in_the_query_which_goes_no_further() {
    let backend = Backend::answering(|request, stream| {
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let answer = if request
            .head
            .to_ascii_lowercase()
            .contains("upgrade: websocket")
        {
            agreed
        } else {
            plain
        };
        stream.write_all(answer.as_bytes()).is_ok() && answer == plain
    });
    let menshen = Setup::before(backend.address).with(RULES).start();
    let token = menshen.token("alice");
    let handshake = |path: &str| {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ));
        client.receive().expect("an answer").status
    };
    assert_eq!(
        handshake(&format!("/ws?room=7&access_token={token}&v=2")),
        101
    );
    let seen = backend.last();
    assert_eq!(seen.line, "GET /ws?room=7&v=2 HTTP/1.1");
    assert_eq!(seen.folded("x-auth-state"), ["authenticated"]);
    assert_eq!(handshake("/ws?access_token=a.b.c"), 401);
    assert_eq!(
        handshake(&format!("/ws?access_token={token}&access_token={token}")),
        400
    );
    assert_eq!(handshake(&format!("/elsewhere?access_token={token}")), 401);
    // Nothing but a handshake may: a link with a token in it is no login.
    assert_eq!(
        menshen
            .get(&format!("/ws?access_token={token}"), &[])
            .status,
        401
    );
    assert!(
        menshen.log().iter().all(|line| !line.contains(&token)),
        "no log line has the token"
    );
}

#[test]
fn a_backend_that_keeps_authorization_gets_what_came() {
    let backend = Backend::start();
    let keep = format!(
        "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"keep\"",
        backend.address
    );
    let menshen = Setup::before(backend.address)
        .with(&keep)
        .with(RULES)
        .start();
    let cookie = format!("theme=dark; at={}", menshen.token("alice"));
    assert_eq!(menshen.get("/pages/1", &[("Cookie", &cookie)]).status, 200);
    assert_eq!(backend.last().folded("cookie"), [cookie]);
}

#[test]
fn over_http2_crumbs_are_one_cookie() {
    let backend = Backend::start();
    let server = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"\nh2c = true";
    let menshen = Setup::before(backend.address)
        .with(server)
        .with(RULES)
        .start();
    let token = menshen.token("alice");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let status = runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(menshen.http)
            .await
            .expect("a connection");
        let (mut requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        let carried = tokio::spawn(connection);
        let request = http::Request::get(format!("http://{}/pages/1", menshen.http))
            .header("cookie", "theme=dark")
            .header("cookie", format!("at={token}"))
            .body(())
            .expect("a request");
        let (answer, _) = requests.send_request(request, true).expect("sent");
        let status = answer.await.expect("an answer").status().as_u16();
        carried.abort();
        status
    });
    assert_eq!(
        (status, backend.last().folded("cookie")),
        (200, vec!["theme=dark".to_owned()])
    );
}

#[test]
fn a_refusal_for_a_cookie_names_its_rule_and_can_be_read_by_a_listed_page() {
    let backend = Backend::start();
    let rule = "[[rule]]\nname = \"pages\"\npath = \"/pages/**\"\ntoken_cookie = \"at\"\ncors = true\n\
                [cors]\nallowed_origins = [\"https://admin.example\"]";
    let menshen = Setup::before(backend.address).with(rule).start();
    let sent = [("Cookie", "at=a.b.c"), ("Origin", "https://admin.example")];
    let refused = wire::ask(menshen.http, "POST", "/pages/1", &sent, b"x");
    assert_eq!(
        code(&refused),
        (403, "forbidden"),
        "it is listed, but without credentials"
    );
    assert_eq!(
        refused.header("Access-Control-Allow-Origin"),
        Some("https://admin.example")
    );
    menshen.wait_for_metric(
        "menshen_requests_total{decision=\"refused\",rule=\"pages\",status=\"4xx\"}",
        1.0,
    );
}

#[test]
fn a_cookie_opens_no_path_that_a_lenient_backend_takes_for_one_without_it() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"api\"\npath = \"/api/**\"\n[[rule]]\nname = \"rest\"\npath = \"/**\"\ntoken_cookie = \"at\"";
    let menshen = Setup::before(backend.address).with(rules).start();
    let cookie = format!("at={}", menshen.token("alice"));
    for (path, status) in [("/x", 200), ("/api/x", 401), ("/API/x", 401)] {
        assert_eq!(
            menshen.get(path, &[("Cookie", &cookie)]).status,
            status,
            "{path}"
        );
    }
}

#[test]
fn an_empty_authorization_is_no_token() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"maybe\"\npath = \"/maybe/**\"\naccess = \"optional\"\n\
        [[rule]]\nname = \"pages\"\npath = \"/pages/**\"\ntoken_cookie = \"at\"\n\
        [[dialect]]\nkind = \"nest\"\nprefix = \"/nest\"\n[[dialect]]\nkind = \"simplejwt\"\nprefix = \"/jwt\"\n\
        [[dialect]]\nkind = \"success-data\"\nprefix = \"/simple\"\n[[dialect]]\nkind = \"code-data\"\nprefix = \"/code\"\n\
        [wechat]\nlegacy_decrypt = true\n";
    let menshen = Setup::before(backend.address).with(rules).start();
    let (empty, token) = (("Authorization", ""), menshen.token("alice"));
    assert_eq!(menshen.get("/maybe/1", &[empty]).status, 200);
    assert_eq!(backend.last().folded("x-auth-state"), ["anonymous"]);
    assert_eq!(
        menshen
            .get("/pages/1", &[empty, ("Cookie", &format!("at={token}"))])
            .status,
        200
    );
    let arrived = backend.received().len();
    for value in ["Bearer", "Bearer undefined", "undefined"] {
        assert_eq!(
            code(&menshen.get("/maybe/1", &[("Authorization", value)])),
            (401, "token_invalid"),
            "{value}"
        );
    }
    assert_eq!(
        code(&menshen.get("/maybe/1", &[empty, empty])),
        (400, "request_malformed")
    );
    // Said in the shape and the words of the path, as where the field is not there.
    let mut paths = 0;
    for path in [
        "/x",
        "/nest/x",
        "/jwt/x",
        "/simple/x",
        "/code/x",
        "/auth/me",
        "/auth/sessions",
    ] {
        let (with, without) = (menshen.get(path, &[empty]), menshen.get(path, &[]));
        assert_eq!(
            (code(&with), code(&without)),
            ((401, "token_missing"), (401, "token_missing")),
            "{path}"
        );
        let said = |answer: &Answer| {
            let mut said = answer.json();
            for own in ["timestamp", "request_id"] {
                said.as_object_mut().expect("an object").remove(own);
            }
            said
        };
        assert_eq!(said(&with), said(&without), "{path}");
        paths += 1;
    }
    for path in ["/auth/logout", "/nest/auth/logout", "/nest/auth/refresh"] {
        assert_eq!(
            code(&wire::ask(menshen.http, "POST", path, &[empty], b"")),
            (401, "token_missing"),
            "{path}"
        );
    }
    assert_eq!(
        (paths, backend.received().len()),
        (7, arrived),
        "nothing that is refused arrives"
    );
}

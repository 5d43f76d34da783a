//! Forward-auth with the proxies themselves, run by the very files of
//! `deploy/examples/forward-auth`, and with the questions that others are documented to ask.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer},
};

const RULES: &str = r#"
[[rule]]
name = "open"
path = "/public/**"
access = "public"
[[rule]]
name = "back-office"
path = "/admin/**"
user_types = ["admin"]
[[rule]]
name = "hidden"
path = "/internal/**"
access = "deny"
"#;

fn asked_by(dialect: &str, backend: SocketAddr, more: &str) -> Menshen {
    let trust = "[\"127.0.0.1/32\"]";
    Setup::before(backend)
        .with(&format!("[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\ntrusted_proxies = {trust}"))
        .with(&format!("[forward_auth]\nenabled = true\ndialect = \"{dialect}\"\ntrusted_callers = {trust}\n{more}"))
        .with(RULES)
        .start()
}

/// A proxy in a process of its own, in front of menshen and the backend.
struct Proxy {
    child: Child,
    at: SocketAddr,
    _dir: TempDir,
}

impl Proxy {
    fn start(
        file: &str,
        menshen: SocketAddr,
        backend: SocketAddr,
        run: impl Fn(&Path, &str) -> Command,
    ) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy/examples/forward-auth")
            .join(file);
        let text = std::fs::read_to_string(path).expect("the example");
        // Nobody gives a port away for good, so another process may be quicker.
        for _ in 0..5 {
            let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
            let at = reserved.local_addr().expect("an address");
            let mut text = text.clone();
            for (written, meant) in [(8000, at), (8080, menshen), (3000, backend)] {
                let (address, yaml) = (
                    format!("127.0.0.1:{written}"),
                    format!("port_value: {written} "),
                );
                assert!(
                    text.contains(&address) || text.contains(&yaml),
                    "{file} has no port {written}"
                );
                text = text
                    .replace(&address, &meant.to_string())
                    .replace(&yaml, &format!("port_value: {} ", meant.port()));
            }
            let dir = tempfile::tempdir().expect("a directory");
            let mut command = run(dir.path(), &text);
            drop(reserved);
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("the proxy's program");
            let mut proxy = Self {
                child,
                at,
                _dir: dir,
            };
            if proxy.is_up() {
                return proxy;
            }
        }
        panic!("{file} does not start");
    }

    /// Waits until it accepts connections, or has ended.
    fn is_up(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if self.child.try_wait().expect("a state").is_some() {
                return false;
            }
            if TcpStream::connect(self.at).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn nginx(menshen: SocketAddr, backend: SocketAddr) -> Self {
        Self::start("nginx.conf", menshen, backend, |dir, text| {
            std::fs::write(dir.join("menshen.conf"), text).expect("a file");
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {};", dir.join(kind).display()))
                .join(" ");
            let main = format!(
                "daemon off; master_process off; pid {dir}/pid; error_log stderr crit;\nevents {{}}\n\
                 http {{ access_log off; {temporary} include {dir}/menshen.conf; }}\n",
                dir = dir.display()
            );
            let file = dir.join("nginx.conf");
            std::fs::write(&file, main).expect("a file");
            let found = ["/usr/sbin/nginx", "/usr/bin/nginx"]
                .into_iter()
                .find(|path| Path::new(path).exists());
            let mut command =
                Command::new(found.expect("nginx is missing: `./run test` installs it"));
            command
                .args(["-e", "stderr", "-p"])
                .arg(dir)
                .arg("-c")
                .arg(file);
            command
        })
    }

    fn envoy(menshen: SocketAddr, backend: SocketAddr) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/backends/envoy/bin/envoy");
        assert!(
            program.exists(),
            "{} is missing: `./run test` installs it",
            program.display()
        );
        Self::start("envoy.yaml", menshen, backend, |dir, text| {
            let file = dir.join("envoy.yaml");
            std::fs::write(&file, text).expect("a file");
            let mut command = Command::new(&program);
            command
                .args([
                    "--disable-hot-restart",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "error",
                    "-c",
                ])
                .arg(file);
            command
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Every value of the identity headers that the backend got, by folded name.
fn identity(backend: &Backend) -> Vec<(&'static str, Vec<String>)> {
    let seen = backend.last();
    [
        "X-User-Id",
        "X-User-Type",
        "X-User-Role",
        "X-Session-Id",
        "X-Client-Type",
        "X-Auth-State",
        "X-Auth-Assertion",
    ]
    .map(|name| (name, seen.folded(name)))
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .collect()
}

/// What every proxy has to get right.
fn the_story_of_a_proxy(menshen: &Menshen, backend: &Backend, proxy: SocketAddr) {
    // The auth API is reached through the proxy.
    let login = wire::post(
        proxy,
        "/auth/wechat/login",
        &[],
        &json!({ "code": "alice" }),
    );
    assert_eq!(
        login.status,
        200,
        "{}",
        String::from_utf8_lossy(&login.body)
    );
    let login = login.json();
    let (token, user) = (
        login["access_token"].as_str().expect("a token"),
        login["user"]["id"].as_str().expect("an id"),
    );
    let bearer = format!("Bearer {token}");
    let signed_in = [("Authorization", bearer.as_str())];
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let before = backend.received().len();
        let answer = wire::ask(proxy, method, path, headers, body);
        (answer, backend.received().len() - before)
    };
    let refused = |(answer, reached): (Answer, usize), status: u16, code: &str| {
        assert_eq!(
            (answer.status, answer.error(), reached),
            (status, Some(code), 0)
        );
        answer
    };

    // Allowed: the backend is told who it is, and not the token.
    let (answer, reached) = ask("GET", "/api/orders?page=2&q=%E4%B8%AD%2F", &signed_in, b"");
    assert_eq!((answer.status, reached, answer.error()), (200, 1, None));
    let seen = backend.last();
    assert_eq!(seen.line, "GET /api/orders?page=2&q=%E4%B8%AD%2F HTTP/1.1");
    assert_eq!(
        (seen.folded("x-user-id"), seen.folded("x-auth-state")),
        (vec![user.to_owned()], vec!["authenticated".to_owned()])
    );
    assert_eq!(seen.folded("authorization"), Vec::<String>::new());

    // A body passes, and is not part of the question.
    let body = vec![b'x'; 100_000];
    let (answer, _) = ask("POST", "/api/orders", &signed_in, &body);
    assert_eq!(
        (answer.status, backend.last().body.len()),
        (200, body.len())
    );
    assert_eq!(backend.last().folded("x-user-id"), [user]);

    // 401, 403.
    let answer = refused(ask("GET", "/api/orders", &[], b""), 401, "token_missing");
    assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
    refused(
        ask(
            "POST",
            "/api/orders",
            &[("Authorization", "Bearer a.b.c")],
            b"{}",
        ),
        401,
        "token_invalid",
    );
    refused(ask("GET", "/admin/x", &signed_in, b""), 403, "forbidden");
    refused(ask("GET", "/internal/x", &signed_in, b""), 403, "forbidden");

    // Public: anonymous, whoever it is.
    for headers in [&[][..], &signed_in] {
        let (answer, reached) = ask("GET", "/public/a%20b?x=/admin", headers, b"");
        assert_eq!((answer.status, reached), (200, 1));
        assert_eq!(backend.last().line, "GET /public/a%20b?x=/admin HTTP/1.1");
        assert_eq!(
            identity(backend),
            [("X-Auth-State", vec!["anonymous".to_owned()])]
        );
    }

    no_client_gets_around_it(backend, proxy, signed_in[0], user);

    // A logout bites at once.
    assert_eq!(
        wire::post(proxy, "/auth/logout", &signed_in, &json!({})).status,
        204
    );
    refused(
        ask("GET", "/api/orders", &signed_in, b""),
        401,
        "token_revoked",
    );

    // Each question is counted by its rule.
    menshen.wait_for_metric(
        r#"menshen_requests_total{decision="verified",rule="open",status="2xx"}"#,
        2.0,
    );
    menshen.wait_for_metric(
        r#"menshen_requests_total{decision="refused",rule="back-office",status="4xx"}"#,
        1.0,
    );
    menshen.wait_for_metric(
        r#"menshen_requests_total{decision="verified",rule="default",status="2xx"}"#,
        2.0,
    );
}

/// Everything that a client can say besides its path, method and token says nothing.
fn no_client_gets_around_it(
    backend: &Backend,
    proxy: SocketAddr,
    signed_in: (&str, &str),
    user: &str,
) {
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let before = backend.received().len();
        let answer = wire::ask(proxy, "GET", path, headers, b"");
        (answer, backend.received().len() - before)
    };
    // Which request it is, no header of a client says.
    for name in [
        "X-Original-URI",
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Rewrite-URL",
        "x-envoy-original-path",
    ] {
        let (answer, reached) = ask(
            "/api/orders",
            &[(name, "/public/x"), ("X-Forwarded-Method", "OPTIONS")],
        );
        assert!(
            matches!(answer.status, 401 | 403),
            "{name}: {}",
            answer.status
        );
        assert_eq!(reached, 0, "{name}");
    }

    // No path that could be read in two ways passes.
    for path in [
        "/public/../admin",
        "/public/%2e%2e/api",
        "//api",
        "/public/..%2fapi",
        "/public/;/x",
        "/public//x",
        "/%61pi",
        "/public\\x",
    ] {
        let (answer, reached) = ask(path, &[signed_in]);
        assert!(
            (400..=404).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert_eq!(reached, 0, "{path}");
    }

    // Nobody becomes anybody by a header: it is refused, or gone.
    for name in [
        "X-User-Id",
        "x-user-id",
        "X_User_Id",
        "X.User.Id",
        "x_user-id",
        "X~User~Id",
        "X-User-Role",
        "X_User_Role",
        "X-Auth-State",
        "X-Auth-Assertion",
        "X_AUTH_STATE",
        "X-Session-Id",
        "X-Client-Type",
    ] {
        for path in ["/public/x", "/api/orders"] {
            let headers: &[_] = if path == "/api/orders" {
                &[signed_in, (name, "forged")]
            } else {
                &[(name, "forged")]
            };
            let (answer, reached) = ask(path, headers);
            assert!(
                matches!(answer.status, 200 | 403),
                "{name} on {path}: {}",
                answer.status
            );
            assert_eq!(
                reached,
                usize::from(answer.status == 200),
                "{name} on {path}"
            );
            if reached == 1 {
                let forged: Vec<_> = identity(backend)
                    .into_iter()
                    .filter(|(_, values)| values.contains(&"forged".to_owned()))
                    .collect();
                assert!(forged.is_empty(), "{forged:?} by {name} on {path}");
                assert_eq!(
                    backend.last().folded("x-auth-state").len(),
                    1,
                    "{name} on {path}"
                );
            }
        }
    }
    // Neither by taking one away.
    let (answer, _) = ask(
        "/api/orders",
        &[signed_in, ("Connection", "close, X-User-Id, X-Auth-State")],
    );
    assert_eq!(answer.status, 200);
    assert_eq!(
        (
            backend.last().folded("x-user-id"),
            backend.last().folded("x-auth-state").len()
        ),
        (vec![user.to_owned()], 1)
    );

    // The question is the proxy's alone.
    for path in [
        "/auth/verify",
        "/auth/verify/api/orders",
        "/auth/verify?x",
        "/auth/./verify",
    ] {
        let asked = [
            signed_in,
            ("X-Original-Method", "GET"),
            ("X-Original-URI", "/api/orders"),
        ];
        let (answer, _) = ask(path, &asked);
        assert!(
            (400..=404).contains(&answer.status) && answer.header("X-User-Id").is_none(),
            "{path}: {}",
            answer.status
        );
    }
}

#[test]
fn nginx_asks_and_obeys() {
    let backend = Backend::start();
    let menshen = asked_by("nginx", backend.address, "");
    let proxy = Proxy::nginx(menshen.http, backend.address);
    the_story_of_a_proxy(&menshen, &backend, proxy.at);
    // It sends forged headers on to menshen, which refuses them.
    let answer = wire::ask(
        proxy.at,
        "GET",
        "/public/x",
        &[("X-User-Role", "admin")],
        b"",
    );
    assert_eq!(
        (answer.status, answer.error()),
        (403, Some("request_malformed"))
    );
}

#[test]
fn nginx_overwrites_forged_headers_where_menshen_ignores_them() {
    let backend = Backend::start();
    let menshen = asked_by("nginx", backend.address, "forged_headers = \"ignore\"");
    let proxy = Proxy::nginx(menshen.http, backend.address);
    let forged = [
        "X-User-Id",
        "X-User-Type",
        "X-Session-Id",
        "X-Client-Type",
        "X-Auth-State",
        "X-Auth-Assertion",
    ]
    .map(|name| (name, "1"));
    assert_eq!(
        wire::ask(proxy.at, "GET", "/public/x", &forged, b"").status,
        200
    );
    assert_eq!(
        identity(&backend),
        [("X-Auth-State", vec!["anonymous".to_owned()])]
    );
}

#[test]
fn nginx_refuses_while_menshen_is_gone() {
    let backend = Backend::start();
    let mut menshen = asked_by("nginx", backend.address, "");
    let proxy = Proxy::nginx(menshen.http, backend.address);
    menshen.stop();
    assert_eq!(
        wire::ask(proxy.at, "GET", "/public/x", &[], b"").status,
        500
    );
    assert!(backend.received().is_empty());
}

#[test]
fn envoy_asks_and_obeys() {
    let backend = Backend::start();
    let menshen = asked_by("envoy", backend.address, "");
    let proxy = Proxy::envoy(menshen.http, backend.address);
    the_story_of_a_proxy(&menshen, &backend, proxy.at);
    // It is told what to remove, so a forged header costs nobody the request.
    let answer = wire::ask(
        proxy.at,
        "GET",
        "/public/x",
        &[("X-User-Role", "admin"), ("X.User.Id", "1"), ("X-App", "2")],
        b"",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(
        identity(&backend),
        [("X-Auth-State", vec!["anonymous".to_owned()])]
    );
    assert_eq!(backend.last().folded("x-app"), ["2"]);
}

#[test]
fn envoy_refuses_while_menshen_is_gone() {
    let backend = Backend::start();
    let mut menshen = asked_by("envoy", backend.address, "");
    let proxy = Proxy::envoy(menshen.http, backend.address);
    menshen.stop();
    assert_eq!(
        wire::ask(proxy.at, "GET", "/public/x", &[], b"").status,
        503
    );
    assert!(backend.received().is_empty());
}

/// What Traefik sends by its source (`writeHeader` of its forward-auth middleware): all of the
/// client's headers, and these.
#[test]
fn the_questions_of_traefik_and_apisix_are_answered() {
    let backend = Backend::start();
    let menshen = asked_by("traefik", backend.address, "");
    let login = menshen.login("alice");
    let bearer = format!(
        "Bearer {}",
        login["access_token"].as_str().expect("a token")
    );
    let ask = |method: &str, uri: &str, more: &[(&str, &str)]| {
        let told = [
            ("X-Forwarded-Method", method),
            ("X-Forwarded-Uri", uri),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("Accept-Encoding", "gzip"),
        ];
        let answer = menshen.get("/auth/verify", &[&told, more].concat());
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        answer
    };
    let yes = ask("POST", "/api/orders?x=1", &[("Authorization", &bearer)]);
    assert_eq!(
        (yes.status, yes.header("X-Auth-State")),
        (200, Some("authenticated"))
    );
    assert_eq!(yes.header("X-User-Id"), login["user"]["id"].as_str());
    assert_eq!(
        (
            yes.header("Authorization"),
            yes.header("X-Envoy-Auth-Headers-To-Remove")
        ),
        (None, None)
    );
    let open = ask("GET", "/public/x", &[("Authorization", &bearer)]);
    assert_eq!(
        (
            open.status,
            open.header("X-Auth-State"),
            open.header("X-User-Id")
        ),
        (200, Some("anonymous"), None)
    );
    for (method, uri, headers, status, code) in [
        ("GET", "/api/x", &[][..], 401, "token_missing"),
        (
            "GET",
            "/admin/x",
            &[("Authorization", bearer.as_str())][..],
            403,
            "forbidden",
        ),
        ("GET", "/public/../admin", &[], 403, "path_ambiguous"),
        ("GET", "/public/x#/../y", &[], 403, "path_ambiguous"),
        ("TRACE", "/public/x", &[], 403, "method_not_allowed"),
        (
            "GET",
            "/auth/me",
            &[("Authorization", bearer.as_str())],
            403,
            "forbidden",
        ),
        // Traefik hands on every spelling.
        (
            "GET",
            "/public/x",
            &[("X_User_Id", "1")],
            403,
            "request_malformed",
        ),
        (
            "GET",
            "/public/x",
            &[("X-HTTP-Method-Override", "DELETE")],
            403,
            "request_malformed",
        ),
        // Two of them: which one did the proxy write?
        (
            "GET",
            "/public/x",
            &[("X-Forwarded-Uri", "/public/x")],
            403,
            "request_malformed",
        ),
    ] {
        let no = ask(method, uri, headers);
        assert_eq!(
            (no.status, no.error()),
            (status, Some(code)),
            "{method} {uri} {headers:?}"
        );
        assert_eq!(no.header("X-User-Id"), None);
    }
    assert!(backend.received().is_empty(), "nothing is forwarded");
    menshen.wait_for_log(
        r#""path":"/api/orders","status":200,"rule":"default","decision":"verified""#,
    );
    menshen.wait_for_log(r#""client_ip":"203.0.113.9""#);
    // A refused one, too, is named as the client sent it.
    menshen.wait_for_log(r#""method":"GET","path":"/public/../admin","status":403"#);
}

#[test]
fn a_backend_that_looks_at_the_token_gets_it_from_the_answer() {
    let backend = Backend::start();
    let upstream = format!(
        "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"keep\"",
        backend.address
    );
    let menshen = asked_by("nginx", backend.address, &upstream);
    let proxy = Proxy::nginx(menshen.http, backend.address);
    let bearer = format!("Bearer {}", menshen.token("alice"));
    assert_eq!(
        wire::ask(
            proxy.at,
            "GET",
            "/api/x",
            &[("Authorization", &bearer)],
            b""
        )
        .status,
        200
    );
    assert_eq!(backend.last().folded("authorization"), [bearer]);
}

#[test]
fn a_rule_that_reports_lets_no_header_lead_past_the_others() {
    let backend = Backend::start();
    let reporting = "[[rule]]\nname = \"new\"\npath = \"/new/**\"\nreport_only = true";
    let menshen = asked_by("traefik", backend.address, reporting);
    let ask = |name| {
        let told = [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/new/x"),
            (name, "/admin/users"),
        ];
        menshen.get("/auth/verify", &told).status
    };
    assert_eq!(
        (
            ask("X-User-Role"),
            ask("X-Original-URL"),
            ask("X-Rewrite-URL")
        ),
        (200, 403, 403)
    );
}

#[test]
fn strangers_are_told_nothing_and_it_is_off_by_default() {
    let backend = Backend::start();
    let asked = [
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/public/x"),
    ];
    let menshen = Setup::before(backend.address)
        .with("[forward_auth]\nenabled = true\ntrusted_callers = [\"192.0.2.0/24\"]")
        .with(RULES)
        .start();
    let answer = menshen.get("/auth/verify", &asked);
    assert_eq!(
        (answer.status, answer.error(), answer.header("X-Auth-State")),
        (403, Some("forbidden"), None)
    );
    // Nobody becomes a caller by saying so.
    let answer = menshen.get(
        "/auth/verify",
        &[&asked[..], &[("X-Forwarded-For", "192.0.2.1")]].concat(),
    );
    assert_eq!((answer.status, answer.error()), (403, Some("forbidden")));
    let off = Setup::before(backend.address).with(RULES).start();
    let answer = off.get("/auth/verify", &asked);
    assert_eq!((answer.status, answer.error()), (404, Some("not_found")));
}

#[test]
fn a_yes_has_every_proof_that_the_backend_was_promised() {
    let backend = Backend::start();
    let upstream = format!(
        "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"mint\"",
        backend.address
    );
    let mint = "[mint]\nsecret = \"q7Zr0vT2mXk9Lw4Bh8NcYs1GdJ5PfAeU\"\nclaims = { user_id = \"{user.id}\" }";
    let proofs = format!("{upstream}\n{mint}\n[identity]\nassertion = true");
    let menshen = asked_by("nginx", backend.address, &proofs);
    let (good, question) = (
        menshen.token("alice"),
        [("X-Original-Method", "GET"), ("X-Original-URI", "/orders")],
    );
    let bearer = format!("Bearer {good}");
    let yes = menshen.get(
        "/auth/verify",
        &[&question[..], &[("Authorization", bearer.as_str())]].concat(),
    );
    assert_eq!(yes.status, 200, "{yes:?}");
    let of = |answer: &Answer, name: &str| answer.header(name).map(str::to_owned);
    let (assertion, minted) = (
        of(&yes, "X-Auth-Assertion").expect("one"),
        of(&yes, "Authorization").expect("one"),
    );
    // What the gate itself would send is the same, and no token of the client's is among it.
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &bearer)]).status,
        200
    );
    assert_eq!(backend.last().folded("authorization"), [minted.as_str()]);
    assert_eq!(
        backend.last().folded("x-auth-assertion"),
        [assertion.as_str()]
    );
    assert!(minted != bearer && !assertion.contains(&good));
    // Nobody is vouched for where nobody is.
    let open = [
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/public/x"),
    ];
    let yes = menshen.get(
        "/auth/verify",
        &[&open[..], &[("Authorization", bearer.as_str())]].concat(),
    );
    assert_eq!(
        (
            yes.status,
            of(&yes, "X-Auth-Assertion"),
            of(&yes, "Authorization")
        ),
        (200, None, None)
    );
}

#[test]
fn a_page_of_another_site_gets_no_yes_by_a_cookie() {
    const COOKIE: &str = "[[rule]]\nname = \"pages\"\npath = \"/pages/**\"\ntoken_cookie = \"at\"";
    let backend = Backend::start();
    for dialect in ["nginx", "traefik", "envoy"] {
        let menshen = asked_by(dialect, backend.address, COOKIE);
        let cookie = format!("at={}", menshen.token("alice"));
        let ask = |method: &'static str, more: &[(&str, &str)]| {
            let (path, told): (_, &[(&str, &str)]) = match dialect {
                "nginx" => (
                    "/auth/verify",
                    &[
                        ("X-Original-Method", method),
                        ("X-Original-URI", "/pages/1"),
                    ],
                ),
                "traefik" => (
                    "/auth/verify",
                    &[
                        ("X-Forwarded-Method", method),
                        ("X-Forwarded-Uri", "/pages/1"),
                    ],
                ),
                _ => ("/auth/verify/pages/1", &[]),
            };
            let carried = if dialect == "envoy" { method } else { "GET" };
            let headers = [told, &[("Cookie", cookie.as_str())], more].concat();
            wire::ask(menshen.http, carried, path, &headers, b"").status
        };
        let (evil, cross) = (
            ("Origin", "https://evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
        );
        assert_eq!(ask("GET", &[cross]), 200, "{dialect}: a link");
        assert_eq!(
            ask("POST", &[("Sec-Fetch-Site", "same-origin")]),
            200,
            "{dialect}"
        );
        // Proxies keep `Upgrade` to themselves, so a handshake looks like this.
        let handshake = [
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(
            ask("GET", &[&handshake[..], &[cross]].concat()),
            403,
            "{dialect}"
        );
        assert_eq!(ask("GET", &[evil]), 403, "{dialect}");
        assert_eq!(ask("POST", &[evil]), 403, "{dialect}");
        assert_eq!(
            ask("POST", &[]),
            403,
            "{dialect}: the proxy has not shown where it is from"
        );
    }
}

#[test]
fn a_gate_that_reports_says_yes_also_where_there_are_two_credentials() {
    const COOKIE: &str = "[gate]\nreport_only = true\n[[rule]]\nname = \"pages\"\npath = \"/pages/**\"\ntoken_cookie = \"at\"";
    let backend = Backend::start();
    let menshen = asked_by("nginx", backend.address, COOKIE);
    let question = [("X-Original-Method", "GET"), ("X-Original-URI", "/pages/1")];
    let two = [("Authorization", "Bearer a.b.c"), ("Cookie", "at=a.b.c")];
    assert_eq!(
        menshen
            .get("/auth/verify", &[question, two].concat())
            .status,
        200
    );
    assert_eq!(
        menshen.get("/pages/1", &two).status,
        200,
        "as it is where the gate itself forwards"
    );
}

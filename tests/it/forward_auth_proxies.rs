//! Forward-auth with nginx and Envoy themselves, run by the very files of
//! `deploy/examples/forward-auth`.

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
    forward_auth::asked_by,
    menshen::Menshen,
    wire::{self, Answer},
};

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

/// A proxy and the backend behind it.
#[derive(Clone, Copy)]
struct Site<'a> {
    backend: &'a Backend,
    proxy: SocketAddr,
}

impl Site<'_> {
    /// The answer, and how many requests reached the backend meanwhile.
    fn ask(
        self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (Answer, usize) {
        let before = self.backend.received().len();
        let answer = wire::ask(self.proxy, method, path, headers, body);
        (answer, self.backend.received().len() - before)
    }

    fn get(self, path: &str, headers: &[(&str, &str)]) -> (Answer, usize) {
        self.ask("GET", path, headers, b"")
    }
}

/// Refused with this status and code, and not forwarded.
fn refused((answer, reached): (Answer, usize), status: u16, code: &str) -> Answer {
    assert_eq!(
        (answer.status, answer.error(), reached),
        (status, Some(code), 0)
    );
    answer
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
    let site = Site { backend, proxy };
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        site.ask(method, path, headers, body)
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

    no_client_gets_around_it(site, signed_in[0], user);

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

    questions_are_counted_by_their_rules(menshen);
}

fn questions_are_counted_by_their_rules(menshen: &Menshen) {
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
fn no_client_gets_around_it(site: Site<'_>, signed_in: (&str, &str), user: &str) {
    no_header_says_which_request_it_is(site);
    no_path_that_could_be_read_in_two_ways_passes(site, signed_in);
    no_header_gives_an_identity(site, signed_in);
    no_header_takes_an_identity_away(site, signed_in, user);
    the_question_is_the_proxys_alone(site, signed_in);
}

fn no_header_says_which_request_it_is(site: Site<'_>) {
    for name in [
        "X-Original-URI",
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Rewrite-URL",
        "x-envoy-original-path",
    ] {
        let (answer, reached) = site.get(
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
}

fn no_path_that_could_be_read_in_two_ways_passes(site: Site<'_>, signed_in: (&str, &str)) {
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
        let (answer, reached) = site.get(path, &[signed_in]);
        assert!(
            (400..=404).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert_eq!(reached, 0, "{path}");
    }
}

/// Forged identity headers are refused, or gone.
fn no_header_gives_an_identity(site: Site<'_>, signed_in: (&str, &str)) {
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
            let (answer, reached) = site.get(path, headers);
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
                let forged: Vec<_> = identity(site.backend)
                    .into_iter()
                    .filter(|(_, values)| values.contains(&"forged".to_owned()))
                    .collect();
                assert!(forged.is_empty(), "{forged:?} by {name} on {path}");
                assert_eq!(
                    site.backend.last().folded("x-auth-state").len(),
                    1,
                    "{name} on {path}"
                );
            }
        }
    }
}

fn no_header_takes_an_identity_away(site: Site<'_>, signed_in: (&str, &str), user: &str) {
    let (answer, _) = site.get(
        "/api/orders",
        &[signed_in, ("Connection", "close, X-User-Id, X-Auth-State")],
    );
    assert_eq!(answer.status, 200);
    assert_eq!(
        (
            site.backend.last().folded("x-user-id"),
            site.backend.last().folded("x-auth-state").len()
        ),
        (vec![user.to_owned()], 1)
    );
}

fn the_question_is_the_proxys_alone(site: Site<'_>, signed_in: (&str, &str)) {
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
        let (answer, _) = site.get(path, &asked);
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

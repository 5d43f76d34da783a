//! Backends that go on verifying tokens themselves: real `@nestjs/jwt` with passport-jwt, and real
//! djangorestframework-simplejwt.
//!
//! `./run test` installs them. menshen signs with the secret that the backend had before, and
//! passes the token on.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    menshen::{Menshen, Setup},
    wire,
};

/// As long as such secrets should be.
const SECRET: &str = "the-secret-that-the-backend-signed-with-before-0123";

/// A backend in a process of its own; it ends with the test.
struct Real {
    child: Child,
    address: SocketAddr,
}

impl Real {
    fn start(program: &str, arguments: &[&str], missing: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(
            root.join(missing).exists(),
            "{missing} is missing: `./run test` installs it"
        );
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(root)
            .env("JWT_SECRET", SECRET)
            .env("USER_ID", "1")
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the backend's program");
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let line = out
            .lines()
            .map_while(Result::ok)
            .find(|line| line.starts_with("listening "));
        let port = line
            .and_then(|line| line.trim_start_matches("listening ").parse().ok())
            .expect("a port");
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn nest() -> Self {
        Self::start(
            "node",
            &["tests/backends/nest/main.js"],
            "tests/backends/nest/node_modules/.installed",
        )
    }

    fn simplejwt() -> Self {
        let python = "target/backends/simplejwt/bin/python";
        let arguments = ["-B", "tests/backends/simplejwt/main.py"];
        Self::start(
            &format!("{}/{python}", env!("CARGO_MANIFEST_DIR")),
            &arguments,
            python,
        )
    }

    /// What it answers to a token, past menshen.
    fn ask(&self, path: &str, token: &str) -> wire::Answer {
        wire::ask(
            self.address,
            "GET",
            path,
            &[("Authorization", &format!("Bearer {token}"))],
            b"",
        )
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// menshen before it, with the backend's own secret.
fn before(backend: &Real, dialect: &str, secret: &str) -> Menshen {
    Setup::before(backend.address)
        .with(&format!(
            "[tokens]\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\n[users]\nids = \"integer\""
        ))
        .with(&format!(
            "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"keep\"",
            backend.address
        ))
        .with(&format!("[[dialect]]\nkind = \"{dialect}\""))
        .start()
}

/// menshen before it with keys of its own, and with this secret for tokens of the backend's form.
fn minting(backend: &Real, claims: &str, secret: &str) -> Menshen {
    Setup::before(backend.address)
        .with("[users]\nids = \"integer\"")
        .with(&format!(
            "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"mint\"",
            backend.address
        ))
        .with(&format!(
            "[mint]\nsecret = \"{secret}\"\nclaims = {{ {claims} }}"
        ))
        .with("[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"optional\"")
        .start()
}

fn through(menshen: &Menshen, path: &str, token: &str) -> wire::Answer {
    menshen.get(path, &[("Authorization", &format!("Bearer {token}"))])
}

fn text<'a>(answer: &'a Value, pointer: &str) -> &'a str {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {answer}"))
}

#[test]
fn passport_jwt_and_nestjs_jwt_accept_the_token_of_nest() {
    let backend = Real::nest();
    let menshen = before(&backend, "nest", SECRET);
    let body = json!({ "code": "alice", "nickName": "张三" });
    let login = menshen.post("/api/v1/auth/wx-login", &[], &body).json();
    let renewed = menshen.post(
        "/api/v1/auth/refresh",
        &[(
            "Authorization",
            &format!("Bearer {}", text(&login, "/data/access_token")),
        )],
        &json!({}),
    );
    for answer in [&login, &renewed.json()] {
        let token = text(answer, "/data/access_token");
        for got in [
            through(&menshen, "/api/v1/user/profile", token),
            backend.ask("/api/v1/user/profile", token),
        ] {
            let expected = json!({
                "code": 200,
                "message": "success",
                "data": { "id": "1", "openid": "alice", "nickname": "张三" },
            });
            assert_eq!((got.status, got.json()), (200, expected));
        }
        let claims = through(&menshen, "/api/v1/user/claims", token).json();
        assert_eq!(
            (&claims["sub"], &claims["nickname"]),
            (&json!("1"), &json!("张三"))
        );
    }
    // The backend looks: a token under another secret is none.
    let stranger = before(&backend, "nest", &SECRET.replace("before", "BEFORE"));
    let foreign = stranger.post("/api/v1/auth/wx-login", &[], &body).json();
    assert_eq!(
        backend
            .ask("/api/v1/user/profile", text(&foreign, "/data/access_token"))
            .status,
        401
    );
    assert_eq!(
        through(
            &menshen,
            "/api/v1/user/profile",
            text(&foreign, "/data/access_token")
        )
        .status,
        401
    );
}

#[test]
fn djangorestframework_simplejwt_accepts_the_token_of_simplejwt() {
    let backend = Real::simplejwt();
    let menshen = before(&backend, "simplejwt", SECRET);
    let login = menshen
        .post("/api/login/", &[], &json!({ "code": "alice" }))
        .json();
    let refreshed = menshen
        .post(
            "/api/token/refresh/",
            &[],
            &json!({ "refresh": login["refresh"] }),
        )
        .json();
    for answer in [&login, &refreshed] {
        let token = text(answer, "/access");
        for got in [
            through(&menshen, "/api/stateless/", token),
            backend.ask("/api/stateless/", token),
        ] {
            let said = got.json();
            assert_eq!(
                (got.status, &said["user_id"], &said["token_type"]),
                (200, &json!("1"), &json!("access")),
                "{said}"
            );
        }
        let me = through(&menshen, "/api/me/", token);
        assert_eq!(
            (me.status, me.json()),
            (200, json!({ "id": 1, "username": "reference" })),
            "the row of the database"
        );
    }
    // The backend looks: neither a refresh token nor a token under another secret passes, and what
    // it says of them is what menshen says in its place.
    let refresh = text(&login, "/refresh");
    assert_eq!(backend.ask("/api/stateless/", refresh).status, 401);
    let stranger = before(&backend, "simplejwt", &SECRET.replace("before", "BEFORE"));
    let foreign = stranger
        .post("/api/login/", &[], &json!({ "code": "alice" }))
        .json();
    let foreign = text(&foreign, "/access");
    let (theirs, ours) = (
        backend.ask("/api/stateless/", foreign),
        through(&menshen, "/api/stateless/", foreign),
    );
    assert_eq!((ours.status, ours.json()), (theirs.status, theirs.json()));
    let none = menshen.get("/api/stateless/", &[]);
    let theirs = wire::ask(backend.address, "GET", "/api/stateless/", &[], b"");
    assert_eq!((none.status, none.json()), (theirs.status, theirs.json()));
}

#[test]
fn what_simplejwt_says_of_logins_and_refreshes_is_what_the_library_says() {
    let backend = Real::simplejwt();
    let menshen = before(&backend, "simplejwt", SECRET);
    let refresh = ("/api/token/refresh/", "/api/reference/refresh/");
    let login = ("/api/admin/login/", "/api/reference/login/");
    let mut seen = 0;
    for (routes, body) in [
        (refresh, json!({})),
        (refresh, json!({ "refresh": null })),
        (refresh, json!({ "refresh": "" })),
        (refresh, json!({ "refresh": " \n\u{3000}\u{1f}" })),
        (refresh, json!({ "refresh": true })),
        (refresh, json!({ "refresh": ["a"] })),
        (refresh, json!({ "refresh": {} })),
        (refresh, json!({ "refresh": 7 })),
        (refresh, json!({ "refresh": -1.5 })),
        (refresh, json!({ "refresh": "garbage" })),
        (refresh, json!({ "refresh": "a.b.c" })),
        (refresh, json!({ "refresh": "mrt1_x", "access": null })),
        (login, json!({})),
        (login, json!({ "username": "nobody" })),
        (login, json!({ "username": "", "password": null })),
        (login, json!({ "username": false, "password": " " })),
        (login, json!({ "username": "nobody", "password": "x" })),
        (login, json!({ "username": "nobody", "password": 7 })),
    ] {
        let (ours, theirs) = (
            menshen.post(routes.0, &[], &body),
            wire::post(backend.address, routes.1, &[], &body),
        );
        assert_eq!(said(&ours), said(&theirs), "{body}");
        seen += 1;
    }
    assert_eq!(seen, 18);
}

/// Status and body, byte for byte.
fn said(answer: &wire::Answer) -> (u16, String) {
    (
        answer.status,
        String::from_utf8_lossy(&answer.body).into_owned(),
    )
}

/// The answer to a refresh token whose state is not good.
fn not_valid(detail: &str) -> (u16, String) {
    (
        401,
        format!("{{\"detail\":\"{detail}\",\"code\":\"token_not_valid\"}}"),
    )
}

/// The library's own answer to a refresh token.
fn refreshed_by_simplejwt(backend: &Real, token: &Value) -> wire::Answer {
    wire::post(
        backend.address,
        "/api/reference/refresh/",
        &[],
        &json!({ "refresh": token }),
    )
}

/// A token that has expired, and one of a user who was shut out.
fn what_simplejwt_says_of_tokens_over_and_users_shut_out(backend: &Real) {
    let theirs = |token: &Value| refreshed_by_simplejwt(backend, token);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        .as_secs();
    let signed = |user: u64, exp: u64| {
        let claims = json!({ "token_type": "refresh", "user_id": user.to_string(), "jti": "a", "iat": exp - 60, "exp": exp });
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        Value::from(
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token"),
        )
    };
    assert_eq!(theirs(&signed(1, now + 60)).status, 200);
    assert_eq!(
        said(&theirs(&signed(1, now - 60))),
        not_valid("Token is expired")
    );
    let inactive = (
        401,
        r#"{"detail":"No active account found for the given token."}"#.to_owned(),
    );
    assert_eq!(said(&theirs(&signed(2, now + 60))), inactive);
    let shut_out = json!({ "username": "inactive", "password": "reference-password" });
    let inactive = (
        401,
        r#"{"detail":"No active account found with the given credentials"}"#.to_owned(),
    );
    assert_eq!(
        said(&wire::post(
            backend.address,
            "/api/reference/login/",
            &[],
            &shut_out
        )),
        inactive
    );
}

/// What the library says of tokens that were good once. Those of menshen are not its, so each side
/// is shown its own of the kind; what needs a clock to be moved
/// `src/api/tests/dialects/simplejwt.rs` compares with the texts that stand here.
#[test]
fn what_simplejwt_says_of_dead_refresh_tokens_is_what_the_library_says() {
    let backend = Real::simplejwt();
    let menshen = before(&backend, "simplejwt", SECRET);
    let theirs = |token: &Value| refreshed_by_simplejwt(&backend, token);
    let ours =
        |token: &Value| menshen.post("/api/token/refresh/", &[], &json!({ "refresh": token }));

    let their_login = wire::post(
        backend.address,
        "/api/reference/login/",
        &[],
        &json!({ "username": "reference", "password": "reference-password" }),
    )
    .json();
    let login = menshen
        .post("/api/login/", &[], &json!({ "code": "alice" }))
        .json();
    assert_eq!(
        (
            theirs(&their_login["refresh"]).status,
            ours(&login["refresh"]).status
        ),
        (200, 200)
    );
    // An access token.
    assert_eq!(
        said(&theirs(&their_login["access"])),
        not_valid("Token has wrong type")
    );
    assert_eq!(
        said(&ours(&login["access"])),
        not_valid("Token has wrong type")
    );
    // One that was taken back.
    let blacklisted = json!({ "refresh": their_login["refresh"] });
    assert_eq!(
        wire::post(
            backend.address,
            "/api/reference/blacklist/",
            &[],
            &blacklisted
        )
        .status,
        200
    );
    assert_eq!(
        said(&theirs(&their_login["refresh"])),
        not_valid("Token is blacklisted")
    );
    let bearer = format!("Bearer {}", text(&login, "/access"));
    assert_eq!(
        menshen
            .post("/auth/logout", &[("Authorization", &bearer)], &json!({}))
            .status,
        204
    );
    assert_eq!(
        said(&ours(&login["refresh"])),
        not_valid("Token is blacklisted")
    );
    what_simplejwt_says_of_tokens_over_and_users_shut_out(&backend);
}

/// Routes of the backend, which verifies; menshen's own token is none to it.
fn a_minted_token_is_what_the_backend_takes(
    backend: &Real,
    claims: &str,
    path: &str,
    id: impl Fn(&Value) -> Value,
) {
    let menshen = minting(backend, claims, SECRET);
    let (alice, bob) = (menshen.token("alice"), menshen.token("bob"));
    for (token, expected) in [(&alice, "1"), (&bob, "2"), (&alice, "1")] {
        let got = through(&menshen, path, token);
        let said = got.json();
        assert_eq!(got.status, 200, "{said}");
        assert_eq!(id(&said).to_string().trim_matches('"'), expected, "{said}");
    }
    assert_eq!(
        backend.ask(path, &alice).status,
        401,
        "menshen's own token means nothing to the backend"
    );
    let none = menshen.get(path, &[]);
    assert_eq!((none.status, none.error()), (401, Some("token_missing")));
    // Under another secret it is refused, by the backend itself.
    let stranger = minting(backend, claims, &SECRET.replace("before", "BEFORE"));
    let refused = through(&stranger, path, &stranger.token("alice"));
    assert_eq!((refused.status, refused.error()), (401, None));
}

#[test]
fn passport_jwt_and_nestjs_jwt_accept_a_minted_token() {
    let backend = Real::nest();
    let claims = "sub = \"{user.id:text}\"";
    a_minted_token_is_what_the_backend_takes(&backend, claims, "/api/v1/user/profile", |said| {
        said["data"]["id"].clone()
    });
    a_minted_token_is_what_the_backend_takes(&backend, claims, "/api/v1/user/claims", |said| {
        said["sub"].clone()
    });
}

#[test]
fn djangorestframework_simplejwt_accepts_a_minted_token() {
    let backend = Real::simplejwt();
    let rest = "token_type = \"access\", jti = \"{jti}\"";
    for (id, is_number) in [("{user.id}", true), ("{user.id:text}", false)] {
        let claims = format!("user_id = \"{id}\", {rest}");
        a_minted_token_is_what_the_backend_takes(&backend, &claims, "/api/stateless/", |said| {
            assert_eq!(said["claims"]["user_id"].is_number(), is_number, "{said}");
            assert_eq!(
                said["claims"]["jti"].as_str().map(str::len),
                Some(32),
                "{said}"
            );
            said["user_id"].clone()
        });
    }
    // The row of the database that the claim names.
    let menshen = minting(
        &backend,
        &format!("user_id = \"{{user.id}}\", {rest}"),
        SECRET,
    );
    let me = through(&menshen, "/api/me/", &menshen.token("alice"));
    assert_eq!(
        (me.status, me.json()),
        (200, json!({ "id": 1, "username": "reference" }))
    );
    // SimpleJWT wants to know which kind of token it is.
    let without = minting(&backend, "user_id = \"{user.id}\", jti = \"{jti}\"", SECRET);
    assert_eq!(
        through(&without, "/api/stateless/", &without.token("alice")).status,
        401
    );
}

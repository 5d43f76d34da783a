//! What the backend is shown besides headers that it has to believe: signed assertions, a shared
//! secret, tokens in its own form.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    backend::Backend,
    keys::part,
    menshen::{Menshen, Setup},
    wire::{self, Client},
};

const ASSERTING: &str = "[identity]\nassertion = true\n[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"optional\"";

fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

/// Asks with this token; what the backend saw of assertions.
fn asserted(menshen: &Menshen, backend: &Backend, token: &str) -> String {
    let (name, value) = bearer(token);
    assert_eq!(menshen.get("/x", &[(name, &value)]).status, 200);
    one(backend.last().folded("x-auth-assertion"))
}

fn one(mut values: Vec<String>) -> String {
    assert_eq!(values.len(), 1, "{values:?}");
    values.remove(0)
}

/// What libraries that know nothing of menshen say of these tokens, by its published keys.
struct Judges {
    jwks: String,
}

impl Judges {
    fn of(menshen: &Menshen) -> Self {
        Self {
            jwks: format!("http://{}/auth/jwks.json", menshen.http),
        }
    }

    /// `jose` on Node, as docs/backend.md uses it.
    fn jose(&self, audience: &str, tokens: &[&str]) -> Vec<Value> {
        self.ask(
            "node",
            &["tests/backends/jose/verify.js"],
            "tests/backends/jose/node_modules/.installed",
            audience,
            tokens,
        )
    }

    /// `PyJWT`, the same.
    fn pyjwt(&self, audience: &str, tokens: &[&str]) -> Vec<Value> {
        let python = "target/backends/simplejwt/bin/python";
        self.ask(
            python,
            &["-B", "tests/backends/simplejwt/assertion.py"],
            python,
            audience,
            tokens,
        )
    }

    fn ask(
        &self,
        program: &str,
        script: &[&str],
        installed: &str,
        audience: &str,
        tokens: &[&str],
    ) -> Vec<Value> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(
            root.join(installed).exists(),
            "{installed} is missing: `./run test` installs it"
        );
        let program = if program.contains('/') {
            root.join(program)
        } else {
            program.into()
        };
        let out = Command::new(program)
            .args(script)
            .args([&self.jwks, "menshen", audience])
            .args(tokens)
            .current_dir(root)
            .output()
            .expect("the judge");
        let said = String::from_utf8(out.stdout).expect("text");
        let said: Vec<_> = said
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(
            said.len(),
            tokens.len(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        said
    }
}

#[test]
fn jose_and_pyjwt_accept_an_assertion_by_the_published_keys_and_nothing_else() {
    for algorithm in ["EdDSA", "ES256", "RS256", "HS256"] {
        let backend = Backend::start();
        let menshen = Setup::before(backend.address)
            .with(ASSERTING)
            .with(&format!("[tokens]\nalgorithm = \"{algorithm}\""))
            .start();
        let login = menshen.login("alice");
        let token = login["access_token"].as_str().expect("a token");
        let assertion = asserted(&menshen, &backend, token);
        let user = one(backend.last().folded("x-user-id"));
        let session = one(backend.last().folded("x-session-id"));
        let (rest, _) = assertion.rsplit_once('.').expect("a JWT");
        let forged = format!("{rest}.{}", "A".repeat(86));
        let judges = Judges::of(&menshen);
        for judge in [Judges::jose, Judges::pyjwt] {
            let said = judge(&judges, "upstream", &[&assertion, token, &forged]);
            let claims = &said[0]["claims"];
            assert_eq!(
                (&claims["sub"], &claims["sid"]),
                (&user.clone().into(), &session.clone().into()),
                "{said:?}"
            );
            assert_eq!(
                (&claims["user_type"], &claims["client_type"]),
                (&"user".into(), &"miniprogram".into())
            );
            let seconds = |name: &str| claims[name].as_u64().expect("a time");
            assert_eq!(seconds("exp") - seconds("iat"), 60);
            assert!(
                said[1]["refused"].is_string(),
                "an access token is no assertion: {said:?}"
            );
            assert!(said[2]["refused"].is_string(), "{said:?}");
            // For another backend it is none, and menshen takes it for no access token.
            assert!(judge(&judges, "another", &[&assertion])[0]["refused"].is_string());
        }
        let (name, value) = bearer(&assertion);
        let answer = menshen.get("/x", &[(name, &value)]);
        assert_eq!(
            (answer.status, answer.error()),
            (401, Some("token_invalid")),
            "{algorithm}"
        );
        assert_eq!(menshen.get("/auth/me", &[(name, &value)]).status, 401);
    }
}

#[test]
fn an_assertion_is_one_sessions_own_and_of_nobody_who_is_anonymous() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(ASSERTING).start();
    let (alice, again, bob) = (
        menshen.token("alice"),
        menshen.token("alice"),
        menshen.token("bob"),
    );
    let of = |token: &str| asserted(&menshen, &backend, token);
    let all = [of(&alice), of(&again), of(&bob)];
    assert_eq!(of(&alice), all[0], "not signed again for each request");
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    // Whatever a client sends, on each way to the backend, never arrives.
    let forged = [
        ("X-Auth-Assertion", all[2].as_str()),
        ("x_auth_assertion", &all[2]),
        ("X.Auth.Assertion", &all[2]),
        ("X-Menshen-Secret", "guess"),
        ("x_menshen_secret", "guess"),
    ];
    for (method, body) in [("GET", ""), ("POST", "body")] {
        assert_eq!(
            wire::ask(menshen.http, method, "/open/x", &forged, body.as_bytes()).status,
            200
        );
        let received = backend.last();
        assert!(received.line.starts_with(method));
        for name in ["x-auth-assertion", "x-menshen-secret"] {
            assert_eq!(received.folded(name), [""; 0], "{method}");
        }
        let (name, value) = bearer(&alice);
        let signed_in = [&forged[..], &[(name, &value)]].concat();
        assert_eq!(
            wire::ask(menshen.http, method, "/open/x", &signed_in, body.as_bytes()).status,
            200
        );
        assert_eq!(
            one(backend.last().folded("x-auth-assertion")),
            all[0],
            "{method}"
        );
    }
    assert!(
        menshen
            .metrics()
            .contains("menshen_proof_errors_total{kind=\"assertion\"} 0\n")
    );
}

#[test]
fn an_assertion_is_renewed_in_time_and_with_the_key() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[identity]\nassertion = true\nassertion_ttl = \"2s\"\nassertion_audience = \"shop\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"")
        .start();
    let token = menshen.token("alice");
    let first = asserted(&menshen, &backend, &token);
    let end = Instant::now() + Duration::from_secs(20);
    let second = loop {
        let now = asserted(&menshen, &backend, &token);
        if now != first {
            break now;
        }
        assert!(Instant::now() < end, "still the first one");
        std::thread::yield_now();
    };
    // No library is asked here: it may take longer to start than this one lives.
    let kid = |token: &str| part(token, 0)["kid"].clone();
    assert!(part(&second, 1)["exp"].as_u64() > part(&first, 1)["exp"].as_u64());
    let before = kid(&second);
    let secret = std::fs::read_to_string(menshen.directory().join("admin.token")).expect("a token");
    let rotated = wire::post(
        menshen.admin,
        "/admin/keys/rotate",
        &[("Authorization", &format!("Bearer {}", secret.trim()))],
        &serde_json::json!({}),
    );
    assert_eq!(rotated.status, 200);
    let third = asserted(&menshen, &backend, &token);
    let after = kid(&third);
    assert!(after.is_string() && after != before, "{after} {before}");
    let published = menshen.get("/auth/jwks.json", &[]).json()["keys"]
        .as_array()
        .expect("a list")
        .clone();
    assert!(
        [before, after]
            .iter()
            .all(|kid| published.iter().any(|key| key["kid"] == *kid)),
        "{published:?}"
    );
}

#[test]
fn a_websocket_handshake_has_the_proofs_too() {
    let secret = "c2VjcmV0LXRoYXQtdGhlLWJhY2tlbmQta25vd3M7Mw";
    let backend = Backend::answering(|_, stream| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        drop(std::io::Write::write_all(stream, head.as_bytes()));
        false
    });
    let menshen = Setup::before(backend.address)
        .with(ASSERTING)
        .with(&format!(
            "[upstream]\nurls = [\"http://{}\"]\nshared_secret = \"{secret}\"",
            backend.address
        ))
        .start();
    let token = menshen.token("alice");
    let mut client = Client::connect(menshen.http);
    client.send(format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade, X-Auth-Assertion, X-Menshen-Secret\r\n\
         Upgrade: websocket\r\nX-Auth-Assertion: forged\r\nX-Menshen-Secret: forged\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ));
    assert_eq!(client.receive().expect("an answer").status, 101);
    let received = backend.last();
    let assertion = one(received.folded("x-auth-assertion"));
    assert!(Judges::of(&menshen).jose("upstream", &[&assertion])[0]["claims"].is_object());
    assert_eq!(one(received.folded("x-menshen-secret")), secret);
}

#[test]
fn the_backend_knows_menshen_by_the_shared_secret_on_every_route() {
    let secret = "c2VjcmV0LXRoYXQtdGhlLWJhY2tlbmQta25vd3M7Mw";
    let backend = Backend::start();
    let dir = Setup::before(backend.address);
    std::fs::write(
        dir.directory().path().join("upstream.secret"),
        format!("{secret}\n"),
    )
    .expect("a file");
    let menshen = dir
        .with(&format!(
            "[upstream]\nurls = [\"http://{}\"]\nshared_secret_file = \"upstream.secret\"\nshared_secret_header = \"X-Gate\"\n\
             [[rule]]\nname = \"open\"\npath = \"/open\"\naccess = \"public\"",
            backend.address
        ))
        .start();
    let (name, value) = bearer(&menshen.token("alice"));
    for (path, credential) in [("/open", None), ("/x", Some((name, value.as_str())))] {
        for (method, body) in [("GET", ""), ("POST", "body")] {
            let mut headers = vec![("X-Gate", "guess"), ("x_gate", "guess")];
            headers.extend(credential);
            assert_eq!(
                wire::ask(menshen.http, method, path, &headers, body.as_bytes()).status,
                200
            );
            assert_eq!(
                one(backend.last().folded("x-gate")),
                secret,
                "{method} {path}"
            );
        }
    }
    assert!(
        menshen.log().iter().all(|line| !line.contains(secret)),
        "it is in the log"
    );
}

#[test]
fn a_minted_token_takes_the_place_of_the_clients_and_is_good_for_the_backend_alone() {
    let secret = "the-secret-that-the-backend-signed-with-before-0123";
    let backend = Backend::start();
    // The move that mint is made for: the backend's own tokens are taken as well, by the same
    // secret.
    let menshen = Setup::before(backend.address)
        .with(&format!("[upstream]\nurls = [\"http://{}\"]\nauthorization = \"mint\"", backend.address))
        .with(&format!("[mint]\nsecret = \"{secret}\"\nclaims = {{ sub = \"{{user.id:text}}\" }}\nissuer = \"nest-app\""))
        .with(&format!(
            "[[issuer]]\nname = \"legacy\"\nissuer = \"nest-app\"\nalgorithms = [\"HS256\"]\nsecret = \"{secret}\"\n\
             [[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"optional\""
        ))
        .start();
    let token = menshen.token("alice");
    let (name, value) = bearer(&token);
    let mut seen = Vec::new();
    for (method, body) in [("GET", ""), ("POST", "body"), ("GET", "")] {
        assert_eq!(
            wire::ask(
                menshen.http,
                method,
                "/open/x",
                &[(name, &value)],
                body.as_bytes()
            )
            .status,
            200
        );
        seen.push(one(backend.last().folded("authorization")));
    }
    assert!(
        seen[0].starts_with("Bearer eyJ") && seen[0] != value,
        "{seen:?}"
    );
    assert!(
        seen.iter().all(|minted| *minted == seen[0]),
        "one for the session"
    );
    for (method, body) in [("GET", ""), ("POST", "body")] {
        assert_eq!(
            wire::ask(menshen.http, method, "/open/x", &[], body.as_bytes()).status,
            200
        );
        assert_eq!(
            backend.last().folded("authorization"),
            [""; 0],
            "nothing is minted for nobody"
        );
    }
    // Whoever gets hold of one comes nowhere with it, although it is an issuer's by secret and
    // name.
    let answer = menshen.get("/open/x", &[("Authorization", &seen[0])]);
    assert_eq!(
        (answer.status, answer.error()),
        (401, Some("token_invalid"))
    );
    assert!(
        menshen.log().iter().all(|line| !line.contains(secret)),
        "it is in the log"
    );
}

#[test]
fn a_minted_token_stands_where_the_backend_looks_for_it() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&format!("[upstream]\nurls = [\"http://{}\"]\nauthorization = \"mint\"", backend.address))
        .with(
            "[mint]\nsecret = \"kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA\"\nclaims = { uid = \"{user.id}\" }\nheader = \"Token\"\nprefix = \"\"\n\
             ttl = \"2s\"",
        )
        .start();
    let token = menshen.token("alice");
    let (name, value) = bearer(&token);
    let minted = || {
        assert_eq!(
            menshen
                .get(
                    "/x",
                    &[(name, &value), ("Token", "forged"), ("token", "forged")]
                )
                .status,
            200
        );
        assert_eq!(
            backend.last().folded("authorization"),
            [""; 0],
            "the client's own token stays here"
        );
        one(backend.last().folded("token"))
    };
    let first = minted();
    assert!(first.starts_with("eyJ"));
    let end = Instant::now() + Duration::from_secs(20);
    while minted() == first {
        assert!(Instant::now() < end, "still the first one");
        std::thread::yield_now();
    }
}

#[test]
fn what_proves_nothing_is_refused_before_the_start() {
    let backend = Backend::start();
    for (section, says) in [
        (
            "[upstream]\nshared_secret = \"short\"",
            "upstream.shared_secret: is shorter than 32 bytes",
        ),
        (
            "[upstream]\nshared_secret = \"kJ8 mQ2 vX5 tB7 nR4 wZ9 pL3 yH6 cF1\"",
            "which a header cannot carry",
        ),
        (
            "[upstream]\nshared_secret_header = \"Host\"",
            "upstream.shared_secret_header: \"Host\" has a meaning of its own",
        ),
        (
            "[upstream]\nshared_secret_header = \"X-User-Id\"",
            "\"X-User-Id\" is set already",
        ),
        (
            "[upstream]\nshared_secret_header = \"X-Auth-State\"",
            "\"X-Auth-State\" is set already",
        ),
        (
            "[identity]\nassertion = true\nassertion_audience = \"backend\"",
            "identity.assertion_audience: is `tokens.audience` too",
        ),
        (
            "[identity]\nassertion = true\nassertion_audience = \"\"",
            "identity.assertion_audience: is empty",
        ),
        (
            "[upstream]\nauthorization = \"mint\"",
            "mint.secret: is missing",
        ),
        (
            "[upstream]\nauthorization = \"mint\"",
            "mint.claims: is empty",
        ),
        (
            "[upstream]\nauthorization = \"mint\"\n[mint]\nsecret = \"short\"\nclaims = { sub = \"{user.id}\" }",
            "mint.secret: is shorter than 32 bytes",
        ),
        (
            "[upstream]\nauthorization = \"mint\"\n[mint]\nprivate_key = \"x\"\nclaims = { sub = \"{user.nickname}\", exp = \"1\" }",
            "mint.private_key: not a PEM file",
        ),
        (
            "[upstream]\nauthorization = \"mint\"\n[tokens]\nalgorithm = \"HS256\"\nsecret = \"kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA\"\n\
             [mint]\nsecret = \"kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA\"\nclaims = { sub = \"{user.id}\" }",
            "mint.secret: is a secret of `[tokens]` too",
        ),
        (
            "[identity]\nassertion = true\nassertion_ttl = \"1s\"",
            "identity.assertion_ttl: 1s is not between 2s and 10m",
        ),
    ] {
        let setup = Setup::before(backend.address).with(section);
        let dir = setup.directory();
        setup.config();
        let out = super::menshen::command(dir.path(), &["check"], &[]);
        let err = String::from_utf8_lossy(&out.stderr).into_owned()
            + &String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(64), "{section}: {err}");
        assert!(err.contains(says), "{section}: {err}");
    }
}

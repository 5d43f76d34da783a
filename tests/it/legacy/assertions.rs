//! Backends that look at `X-Auth-Assertion`: what menshen sends passes, and nobody who reaches them
//! past it is anybody.
//!
//! They listen on Unix sockets here, as the READMEs recommend.

use std::path::Path;

use super::servers::{Gate, Program, Server, data};

const ASKS: &[(&str, &str)] = &[("SHOW_HEADERS", "1")];

/// For another backend it is none; where no keys can be had nobody knows, and nobody is signed out.
fn a_good_one_is_none_to_another_backend(
    program: Program,
    socket: &Path,
    jwks: &str,
    headers: &[(&str, &str)],
) {
    let app = program.application();
    for (variables, status) in [
        (
            [
                ("MENSHEN_JWKS_URL", jwks),
                ("MENSHEN_AUDIENCE", "another-api"),
            ],
            401,
        ),
        (
            [("MENSHEN_JWKS_URL", jwks), ("MENSHEN_ISSUER", "another")],
            401,
        ),
        (
            [
                ("MENSHEN_JWKS_URL", "http://127.0.0.1:9/auth/jwks.json"),
                ("MENSHEN_ISSUER", "menshen"),
            ],
            503,
        ),
    ] {
        let other = Server::on_a_socket(program, socket, &variables);
        for path in [app.me, app.count] {
            assert_eq!(
                other.ask("GET", path, headers).status,
                status,
                "{path} {variables:?}"
            );
        }
    }
}

/// Accepted through menshen; refused past it, unless the assertion is good.
fn the_backend_takes_menshens_word_alone(program: Program) {
    let app = program.application();
    let dir = tempfile::tempdir().expect("a directory");
    let socket = |name: &str| dir.path().join(name);
    let gate = Gate::before(app, &format!("unix:{}", socket("app").display()), &[]);
    let jwks = format!("http://{}/auth/jwks.json", gate.menshen.http);
    let server = Server::on_a_socket(
        program,
        &socket("app"),
        &[ASKS, &[("MENSHEN_JWKS_URL", &jwks)]].concat(),
    );

    let (alice, boss) = (gate.login("alice-1"), gate.administrator());
    assert_eq!(alice.get(app.me)["id"], alice.id);
    assert_eq!(
        boss.get(app.users).as_array().map(Vec::len),
        Some(2),
        "alice and boss"
    );
    assert_eq!(
        data(&gate.ask("GET", app.count))["mine"],
        serde_json::Value::Null
    );
    let arrived = alice.get("/debug/headers").to_string();
    let assertion = arrived
        .split('"')
        .find(|text| text.matches('.').count() == 2 && text.starts_with("ey"))
        .expect("one");

    // Past menshen. The headers say the same each time: the administrator.
    let boss_id = boss.id.to_string();
    let as_boss = [
        ("X-Auth-State", "authenticated"),
        ("X-User-Id", boss_id.as_str()),
        ("X-User-Type", "admin"),
    ];
    let (rest, signature) = assertion.rsplit_once('.').expect("a JWT");
    let (head, claims) = rest.split_once('.').expect("a JWT");
    let turned = format!("{rest}.{}", signature.chars().rev().collect::<String>());
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXV0aC1hc3NlcnRpb24rand0In0.{claims}.");
    let bare = format!("{head}.{claims}.");
    let access = alice.bearer.trim_start_matches("Bearer ");
    for (name, forged) in [
        ("none", None),
        ("an empty one", Some("")),
        ("a guess", Some("boss")),
        ("another signature", Some(turned.as_str())),
        ("no algorithm", Some(&unsigned)),
        ("no signature", Some(&bare)),
        ("an access token", Some(access)),
    ] {
        let headers: Vec<_> = as_boss
            .into_iter()
            .chain(forged.map(|value| ("X-Auth-Assertion", value)))
            .collect();
        for path in [app.me, app.users, app.count] {
            assert_eq!(
                server.ask("GET", path, &headers).status,
                401,
                "{name} at {path}"
            );
        }
    }
    // A good one is alice's, whatever stands beside it.
    let headers = [&as_boss[..], &[("X-Auth-Assertion", assertion)]].concat();
    assert_eq!(data(&server.ask("GET", app.me, &headers))["id"], alice.id);
    assert_eq!(server.ask("GET", app.users, &headers).status, 403);
    let anonymous = [
        ("X-Auth-State", "anonymous"),
        ("X-Auth-Assertion", assertion),
    ];
    assert_eq!(server.ask("GET", app.me, &anonymous).status, 401);

    a_good_one_is_none_to_another_backend(program, &socket("other"), &jwks, &headers);
}

#[test]
fn a_shop_under_gunicorn_takes_menshens_word_alone() {
    the_backend_takes_menshens_word_alone(Program::Gunicorn);
}

#[test]
fn a_shop_under_uvicorn_takes_menshens_word_alone() {
    the_backend_takes_menshens_word_alone(Program::Uvicorn);
}

#[test]
fn recipes_under_nest_take_menshens_word_alone() {
    the_backend_takes_menshens_word_alone(Program::Node);
}

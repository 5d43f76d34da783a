//! `menshen token inspect`: what it says of each kind of token, against what the gate says.

use std::{net::SocketAddr, path::Path};

use serde_json::Value;

use super::{
    backend::Backend,
    menshen::{self, Setup},
};

fn inspect(dir: &Path, args: &[&str], input: &str) -> (Option<i32>, String) {
    let output = menshen::command_reading(dir, &[&["token", "inspect"], args].concat(), &[], input);
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    (output.status.code(), String::from_utf8(text).expect("text"))
}

fn json(dir: &Path, args: &[&str], input: &str) -> (Option<i32>, Value) {
    let (code, text) = inspect(dir, &[args, &["--json"]].concat(), input);
    (
        code,
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")),
    )
}

const SECRET: &str =
    "[tokens]\nalgorithm = \"HS256\"\nsecret = \"q7Zr0vT2mXk9Lw4Bh8NcYs1GdJ5PfAeU\"";

#[test]
fn a_token_is_read_and_judged_as_the_gate_does() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(SECRET).start();
    let dir = menshen.directory();
    let login = menshen.login("alice");
    let access = login["access_token"].as_str().expect("a token");

    let (code, text) = inspect(dir, &[], &format!("Authorization: Bearer {access}\n"));
    assert_eq!(code, Some(0), "{text}");
    let user = login["user"]["id"].as_str().expect("an id");
    for part in [
        "kind        access token\n",
        "alg: \"HS256\"\n",
        &format!("sub: \"{user}\"\n"),
        " (expires 20",
        ", in 14m ",
        "keys        those of the config\n",
        &format!("verdict     valid: the gate accepts it for user {user}\n"),
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let signature = access.rsplit_once('.').expect("a signature").1;
    assert!(
        !text.contains(signature),
        "what is shown is no token that somebody could use"
    );

    let (code, told) = json(dir, &[access], "");
    assert_eq!(
        (code, &told["kind"], &told["verdict"]["user"]),
        (Some(0), &"access_token".into(), &user.into()),
        "{told}"
    );

    // A claim that was changed is shown, and said to be worth nothing.
    let forged = format!(
        "{}.{}",
        access.rsplit_once('.').expect("a signature").0,
        "A".repeat(43)
    );
    let (code, told) = json(dir, &["-"], &forged);
    assert_eq!(
        (code, &told["verdict"]["state"]),
        (Some(1), &"token_invalid".into()),
        "{told}"
    );
    assert_eq!(told["verdict"]["why"], "the signature is wrong");
    let (code, text) = inspect(dir, &[&forged], "");
    assert!(
        code == Some(1) && text.contains("nothing above is proven"),
        "{text}"
    );
}

#[test]
fn other_tokens_are_told_from_access_tokens() {
    let backend = Backend::start();
    let asserting = "[identity]\nassertion = true\n[[dialect]]\nkind = \"simplejwt\"";
    let menshen = Setup::before(backend.address)
        .with(SECRET)
        .with(asserting)
        .start();
    let dir = menshen.directory();
    let login = menshen.login("alice");
    let refresh = login["refresh_token"].as_str().expect("a token");
    let (code, told) = json(dir, &[refresh], "");
    assert_eq!(
        (code, &told["kind"], &told["counter"]),
        (Some(1), &"refresh_token".into(), &0.into()),
        "{told}"
    );
    assert!(!told.to_string().contains(refresh));

    let bearer = format!(
        "Bearer {}",
        login["access_token"].as_str().expect("a token")
    );
    assert_eq!(menshen.get("/x", &[("Authorization", &bearer)]).status, 200);
    let assertion = backend.last().folded("x-auth-assertion").remove(0);
    let (code, text) = inspect(dir, &[&assertion], "");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("kind        assertion for the backend\n"),
        "{text}"
    );
    assert!(
        text.contains("an assertion is for the backend, which checks it itself"),
        "{text}"
    );

    // A dialect hides its refresh token in a JWT, which nobody should find in a terminal.
    let body = serde_json::json!({ "code": "alice" });
    let answer = menshen.post("/api/login/", &[], &body).json();
    let wrapped = answer["refresh"].as_str().expect("a token");
    let (code, told) = json(dir, &[wrapped], "");
    assert_eq!(
        (code, &told["kind"], &told["claims"]["jti"]),
        (Some(1), &"refresh_token".into(), &"***".into()),
        "{told}"
    );

    for rubbish in ["rubbish", "a.b.c", ""] {
        let (code, told) = json(dir, &["-"], rubbish);
        assert_eq!((code, &told["kind"]), (Some(1), &"none".into()), "{told}");
    }
}

#[test]
fn offline_it_needs_neither_config_nor_keys_and_proves_nothing() {
    let setup = Setup::before(SocketAddr::from(([127, 0, 0, 1], 9)));
    let dir = setup.directory();
    std::fs::write(dir.path().join("config.toml"), "mode = \"nonsense\"").expect("a file");
    // {"alg":"none"} and {"sub":"\u001b[31mred","exp":1700000000}
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJcdTAwMWJbMzFtcmVkIiwiZXhwIjoxNzAwMDAwMDAwfQ.x";
    let (code, text) = inspect(dir.path(), &["--offline", token], "");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("exp: 1700000000 (expires 2023-11-14T22:13:20Z, "),
        "{text}"
    );
    assert!(
        !text.contains('\u{1b}') && !text.contains("verdict"),
        "{text}"
    );
    let (code, text) = inspect(dir.path(), &[token], "");
    assert_eq!(code, Some(64), "{text}");
    // With a config, and nothing that has keys.
    setup.config();
    let (code, text) = inspect(dir.path(), &[token], "");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("not checked, so nothing above is proven"),
        "{text}"
    );
}

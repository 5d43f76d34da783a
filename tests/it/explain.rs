//! `menshen explain`: its word against that of the running gate.

use std::{
    net::{SocketAddr, TcpListener},
    process::Output,
};

use serde_json::Value;

use super::{
    backend::Backend,
    menshen::{self, Menshen, Setup},
};

const RULES: &str = r#"
[tokens]
access_ttl = "5m"
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
[[dialect]]
kind = "nest"
"#;

/// A directory with a config, and no menshen.
fn stopped() -> Setup {
    let setup = Setup::before(SocketAddr::from(([127, 0, 0, 1], 9))).with(RULES);
    setup.config();
    setup
}

/// A running one, on a port that its config names.
fn running(backend: SocketAddr) -> Menshen {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|reserved| reserved.local_addr())
        .expect("a port")
        .port();
    let server = format!("[server]\nlisten = [\"127.0.0.1:{port}\"]\nunready_grace = \"1ms\"");
    Setup::before(backend).with(&server).with(RULES).start()
}

fn explain(dir: &std::path::Path, args: &[&str], input: &str) -> (Option<i32>, String) {
    let output: Output = menshen::command_reading(dir, &[&["explain"], args].concat(), &[], input);
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    (output.status.code(), String::from_utf8(text).expect("text"))
}

/// The JSON of an explanation, whose exit code has to say the same.
fn json(dir: &std::path::Path, args: &[&str], input: &str) -> Value {
    let (code, text) = explain(dir, &[args, &["--json"]].concat(), input);
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    assert_eq!(code, Some(i32::from(told["passes"] != true)), "{told}");
    told
}

#[test]
fn rules_are_explained_without_store_and_process() {
    let setup = stopped();
    let dir = setup.directory();
    let dir = dir.path();
    let (code, text) = explain(dir, &["GET", "/public/x", "--header", "X-User-Id: 7"], "");
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "request     GET /public/x from 127.0.0.1\n",
        "rules       > 0 open: /public/** is the first that matches\n",
        "access      public: no token is needed, and none is read\n",
        "outcome     passes as anonymous\n",
        "backend     x-auth-state: anonymous\n",
        "stripped    X-User-Id: only menshen may set it\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let (code, text) = explain(dir, &["GET", "/orders"], "");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("rules         0 open: another path"),
        "{text}"
    );
    assert!(
        text.contains(
            "refused, 401 token_missing: the rule needs a token, and the request has none"
        ),
        "{text}"
    );

    assert_eq!(json(dir, &["GET", "/internal/x"], "")["status"], 403);
    assert_eq!(
        json(dir, &["GET", "/a/%2e%2e/x"], "")["code"],
        "path_ambiguous"
    );
    assert_eq!(
        json(dir, &["POST", "/api/v1/auth/wx-login"], "")["answered_by"],
        "dialect"
    );
    assert_eq!(
        json(dir, &["GET", "/auth/me"], "")["answered_by"],
        "auth_api"
    );
    assert_eq!(json(dir, &["TRACE", "/public/x"], "")["passes"], false);
    assert!(!dir.join("data").exists(), "nothing is made");
}

#[test]
fn what_is_no_request_is_bad_usage() {
    let setup = stopped();
    let dir = setup.directory();
    for args in [
        &["GET", "/x\r\nX: y"][..],
        &["GET", "/x", "--header", "X: y\r\nZ: w"],
        &["GET", "/x", "--header", "nonsense"],
        &["GET", "/x", "--from", "somewhere"],
        &["GET"],
    ] {
        let (code, text) = explain(dir.path(), args, "");
        assert_eq!(code, Some(64), "{args:?}: {text}");
    }
}

#[test]
fn a_token_is_checked_with_the_keys_of_the_running_menshen() {
    let backend = Backend::start();
    let menshen = running(backend.address);
    let dir = menshen.directory();
    let token = menshen.token("alice");

    let told = json(
        dir,
        &["GET", "/orders", "--token", "-", "--header", "X-User-Id: 7"],
        &format!("{token}\n"),
    );
    assert_eq!(
        (&told["token"]["state"], &told["rule"]),
        (&"valid".into(), &"default".into()),
        "{told}"
    );
    assert!(
        told["token"]["keys"]
            .as_str()
            .is_some_and(|keys| keys.contains("running")),
        "{told}"
    );
    assert!(
        told["token"]["revocation"]
            .as_str()
            .is_some_and(|said| said.contains("not checked")),
        "{told}"
    );
    assert!(!told.to_string().contains(&token), "a token is not told");

    // The gate does what was said.
    let bearer = format!("Bearer {token}");
    assert_eq!(
        menshen
            .get("/orders", &[("Authorization", &bearer), ("X-User-Id", "7")])
            .status,
        200
    );
    let seen = backend.last().headers();
    let seen = |name: &str| {
        seen.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    };
    for header in told["backend_gets"].as_array().expect("a list") {
        let (name, value) = (
            header["name"].as_str().expect("a name"),
            header["value"].as_str().expect("a value"),
        );
        let got = seen(name).unwrap_or_else(|| panic!("the backend got no {name}"));
        // Host and id are of the one request.
        assert!(
            got == value || ["x-forwarded-host", "x-request-id"].contains(&name),
            "{name}: {got}, not {value}"
        );
    }
    assert_eq!(told["user"].as_str(), seen("x-user-id"));

    let told = json(dir, &["GET", "/admin/x", "--token", &token], "");
    assert_eq!(
        (&told["status"], &told["code"], &told["token"]["state"]),
        (&403.into(), &"forbidden".into(), &"valid".into())
    );
    let told = json(dir, &["GET", "/public/x", "--token", &token], "");
    assert_eq!(
        (&told["user"], &told["token"]["matters"]),
        (&Value::Null, &false.into())
    );

    let (message, _) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{message}.{}", "A".repeat(86));
    let told = json(dir, &["GET", "/orders", "--token", &forged], "");
    assert_eq!(
        (&told["code"], &told["token"]["why"]),
        (&"token_invalid".into(), &"the signature is wrong".into())
    );
    let told = json(dir, &["GET", "/orders", "--token", "rubbish"], "");
    assert_eq!(
        (&told["code"], &told["status"]),
        (&"token_invalid".into(), &401.into())
    );
}

#[test]
fn a_token_is_checked_with_the_store_of_a_stopped_menshen() {
    let backend = Backend::start();
    let mut menshen = running(backend.address);
    let (kept, ended) = (menshen.token("alice"), menshen.token("bob"));
    let bearer = format!("Bearer {ended}");
    assert_eq!(
        menshen
            .post(
                "/auth/logout",
                &[("Authorization", &bearer)],
                &Value::Object(serde_json::Map::default())
            )
            .status,
        204
    );
    menshen.stop();
    let dir = menshen.directory();
    let told = json(dir, &["GET", "/orders", "--token", &kept], "");
    assert_eq!(
        (&told["passes"], &told["token"]["revocation"]),
        (&true.into(), &"looked up in the store".into()),
        "{told}"
    );
    let told = json(dir, &["GET", "/orders", "--token", &ended], "");
    assert_eq!(told["code"], "token_revoked");
}

#[test]
fn an_expired_token_is_told_as_such() {
    let setup = Setup::before(SocketAddr::from(([127, 0, 0, 1], 9))).with(
        RULES
            .replace(
                "access_ttl",
                "algorithm = \"HS256\"\nsecret = \"q7Zr0vT2mXk9Lw4Bh8NcYs1GdJ5PfAeU\"\naccess_ttl",
            )
            .as_str(),
    );
    setup.config();
    let dir = setup.directory();
    let menshen = setup.start();
    let good = menshen.token("alice");
    let told = json(dir.path(), &["GET", "/orders", "--token", &good], "");
    assert_eq!(
        (&told["passes"], &told["token"]["keys"]),
        (&true.into(), &"those of the config".into()),
        "{told}"
    );
    let expired = expired(&good, b"q7Zr0vT2mXk9Lw4Bh8NcYs1GdJ5PfAeU");
    let told = json(dir.path(), &["GET", "/orders", "--token", &expired], "");
    assert_eq!(
        (&told["code"], &told["token"]["why"]),
        (&"token_expired".into(), &"expired".into()),
        "{told}"
    );
}

/// The same token as it would be had it been given two hours earlier.
fn expired(token: &str, secret: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = |n: usize| {
        URL_SAFE_NO_PAD
            .decode(token.split('.').nth(n).expect("a part"))
            .expect("base64url")
    };
    let mut claims: Value = serde_json::from_slice(&part(1)).expect("JSON");
    for name in ["iat", "exp", "nbf"] {
        if let Some(at) = claims[name].as_u64() {
            claims[name] = (at - 7200).into();
        }
    }
    let header: jsonwebtoken::Header = serde_json::from_slice(&part(0)).expect("a header");
    jsonwebtoken::encode(
        &header,
        &claims,
        &jsonwebtoken::EncodingKey::from_secret(secret),
    )
    .expect("a token")
}

//! Where a config comes from, as the process takes it: the file, the environment over it, secrets
//! in files, and what is printed.

use std::{fs, path::Path};

use serde_json::json;

use super::{
    backend::Backend,
    menshen::{self, Setup},
    wechat::{APP_ID, SECRET, Wechat},
    wire,
};

/// Exit code, output and messages of a subcommand.
fn run(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = menshen::command(dir, args, variables);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn addresses_in_the_environment_win_over_the_file() {
    let backend = Backend::start();
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let socket = dir.path().join("front.sock");
    let listen = format!("127.0.0.1:0, unix:{}", socket.display());
    let menshen = Setup::before(([127, 0, 0, 1], 9).into())
        .in_directory(dir)
        .with("[server]\nlisten = [\"192.0.2.1:1\"]")
        .variable("MENSHEN_SERVER__LISTEN", listen)
        .variable(
            "MENSHEN_UPSTREAM__URLS",
            format!("http://{}", backend.address),
        )
        .variable("MENSHEN_TOKENS__ACCESS_TTL", "90s")
        .variable("MENSHEN_RULE__0__NAME", "health")
        .variable("MENSHEN_RULE__0__PATH", "/health")
        .variable("MENSHEN_RULE__0__ACCESS", "public")
        // What Kubernetes adds for a service of that name is not ours, and no mistake either.
        .variable("MENSHEN_SERVICE_HOST", "10.0.0.1")
        .variable("MENSHEN_PORT_8080_TCP", "tcp://10.0.0.1:8080")
        .start();
    assert!(
        menshen.http.ip().is_loopback() && menshen.http.port() > 1,
        "{}",
        menshen.http
    );
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    assert_eq!(menshen.get("/health", &[]).status, 200);
    assert_eq!(backend.received().len(), 1);
    assert_eq!(menshen.login("alice")["expires_in"], 90);
}

#[test]
fn the_appsecret_comes_from_a_variable_a_file_or_a_file_that_a_variable_names() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let keys = format!(
        "[wechat]\nbase_url = \"{}\"\napp_id = \"{APP_ID}\"\n",
        wechat.server.base_url()
    );
    let wrong = format!("{keys}secret = \"not-the-secret\"");
    let named = format!("{keys}secret_file = \"wechat.secret\"");
    let cases = [
        ("a wrong one in the file", &wrong, [].as_slice(), 503),
        (
            "a variable over it",
            &wrong,
            &[("MENSHEN_WECHAT__SECRET", SECRET)],
            200,
        ),
        ("a file", &named, &[], 200),
        (
            "a variable that names a file",
            &keys,
            &[("MENSHEN_WECHAT__SECRET_FILE", "wechat.secret")],
            200,
        ),
        (
            "a variable and nothing else",
            &keys,
            &[("MENSHEN_WECHAT__SECRET", SECRET)],
            200,
        ),
    ];
    for (n, (name, section, variables, status)) in cases.into_iter().enumerate() {
        let dir = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
        // With the line end that an editor adds.
        fs::write(dir.path().join("wechat.secret"), format!("{SECRET}\n")).expect("a file");
        let setup = Setup::before(backend.address)
            .in_production()
            .in_directory(dir.clone())
            .with(section);
        let mut menshen = variables
            .iter()
            .fold(setup, |setup, (name, value)| setup.variable(*name, *value))
            .start();
        menshen.expect_error("WeChat refuses our credentials or request");
        let answer = menshen.post(
            "/auth/wechat/login",
            &[],
            &json!({ "code": format!("alice-{n}") }),
        );
        assert_eq!(answer.status, status, "{name}");
        let key = fs::metadata(dir.path().join("store.key")).expect("the key file was made");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777,
            0o600,
            "{name}"
        );
    }
}

#[test]
fn a_secret_is_given_once_and_its_file_must_be_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "mode = \"development\"\n[wechat]\napp_id = \"wx1\"\nsecret = \"hunter2hunter2\"\n";
    fs::write(dir.path().join("config.toml"), text).expect("a file");
    fs::write(dir.path().join("empty"), "\n").expect("a file");
    fs::write(dir.path().join("good"), "hunter3hunter3").expect("a file");
    let file = "MENSHEN_WECHAT__SECRET_FILE";
    let (code, _, said) = run(dir.path(), &["check"], &[(file, "good")]);
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains(file) && said.contains("given together with `secret`"),
        "{said}"
    );
    assert!(!said.contains("hunter"), "{said}");
    fs::write(
        dir.path().join("config.toml"),
        "mode = \"development\"\n[wechat]\napp_id = \"wx1\"\n",
    )
    .expect("a file");
    for (name, says) in [
        ("absent", "there is no such file"),
        ("empty", "is empty"),
        (".", "cannot be read"),
    ] {
        let (code, _, said) = run(dir.path(), &["check"], &[(file, name)]);
        assert_eq!(code, Some(64), "{name}: {said}");
        assert!(said.contains(file) && said.contains(says), "{name}: {said}");
    }
    assert_eq!(run(dir.path(), &["check"], &[(file, "good")]).0, Some(0));
}

#[test]
fn a_variable_that_names_no_key_is_refused_with_what_was_meant() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("config.toml"), "mode = \"development\"\n").expect("a file");
    for (name, says) in [
        (
            "MENSHEN_WECHAT_SECRET",
            "did you mean MENSHEN_WECHAT__SECRET?",
        ),
        (
            "MENSHEN_SERVER__LISEN",
            "did you mean MENSHEN_SERVER__LISTEN?",
        ),
        ("MENSHEN_COLOUR", "with two `_` between them"),
    ] {
        for args in [&["check"][..], &["run"], &[], &["keys", "list"]] {
            let (code, out, said) = run(dir.path(), args, &[(name, "hunter2hunter2")]);
            assert_eq!(
                (code, out.as_str()),
                (Some(64), ""),
                "{name} {args:?}: {said}"
            );
            assert!(
                said.contains(&format!("environment {name}: ")) && said.contains(says),
                "{name} {args:?}: {said}"
            );
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    // Of several mistakes, here and in the file, each is told.
    fs::write(
        dir.path().join("config.toml"),
        "mode = \"development\"\n[servr]\n",
    )
    .expect("a file");
    let (code, _, said) = run(
        dir.path(),
        &["check"],
        &[
            ("MENSHEN_SERVER__THREADS", "many"),
            ("MENSHEN_MODE", "producton"),
        ],
    );
    assert_eq!((code, said.lines().count()), (Some(64), 3), "{said}");
    for words in [
        "config.toml:2",
        "environment MENSHEN_SERVER__THREADS: server.threads",
        "environment MENSHEN_MODE: mode",
    ] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
}

#[test]
fn the_file_is_the_one_named_or_the_usual_one_or_none() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("etc")).expect("a directory");
    for (file, port) in [
        ("config.toml", 1001),
        ("other.toml", 1002),
        ("etc/third.toml", 1003),
    ] {
        let text = format!("mode = \"development\"\n[server]\nlisten = [\"127.0.0.1:{port}\"]\n");
        fs::write(dir.path().join(file), text).expect("a file");
    }
    let cases = [
        (["check"].as_slice(), [].as_slice(), "config.toml", 1001),
        (
            &["check"],
            &[("MENSHEN_CONFIG", "other.toml")],
            "other.toml",
            1002,
        ),
        (
            &["check", "--config", "etc/third.toml"],
            &[("MENSHEN_CONFIG", "other.toml")],
            "etc/third.toml",
            1003,
        ),
        (
            &["--config", "etc/third.toml", "check"],
            &[],
            "etc/third.toml",
            1003,
        ),
    ];
    for (args, variables, file, port) in cases {
        let (code, out, said) = run(dir.path(), args, variables);
        assert_eq!(code, Some(0), "{args:?} {variables:?}: {said}");
        assert!(
            out.starts_with(&format!("{file}: ok\n")),
            "{args:?} {variables:?}: {out}"
        );
        assert!(
            out.contains(&format!("127.0.0.1:{port}\n")),
            "{args:?} {variables:?}: {out}"
        );
    }
    let (code, out, said) = run(
        dir.path(),
        &["check"],
        &[("MENSHEN_CONFIG", "missing.toml")],
    );
    assert_eq!((code, out.as_str()), (Some(64), ""), "{said}");
    assert!(said.contains("missing.toml"), "{said}");
    let empty = tempfile::tempdir().expect("a directory");
    let (code, out, said) = run(empty.path(), &["check"], &[("MENSHEN_MODE", "development")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.starts_with("built-in defaults: ok\n"), "{out}");
    assert_eq!(
        fs::read_dir(empty.path()).expect("a directory").count(),
        0,
        "a check makes nothing"
    );
}

#[test]
fn a_config_variable_that_was_left_blank_names_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let blank = [("MENSHEN_CONFIG", ""), ("MENSHEN_MODE", "development")];
    let (code, out, said) = run(dir.path(), &["check"], &blank);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.starts_with("built-in defaults: ok\n"), "{out}");
    fs::write(dir.path().join("config.toml"), "mode = \"production\"\n").expect("a file");
    let (code, out, said) = run(dir.path(), &["check"], &blank);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.starts_with("config.toml: ok\n"), "{out}");
}

#[test]
fn a_check_sums_up_what_would_run_and_tells_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "mode = \"production\"\n[server]\nlisten = [\"127.0.0.1:8080\", \"unix:/run/menshen.sock\"]\n\
                [upstream]\nurls = [\"http://127.0.0.1:3000\"]\n[store]\nurl = \"sled:data\"\nencryption_key_file = \"store.key\"\n\
                [wechat]\napp_id = \"wx1\"\n[[wechat.app]]\napp_id = \"wx2\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
                [[rule]]\nname = \"health\"\npath = \"/health\"\nmethods = [\"GET\"]\naccess = \"public\"\n";
    fs::write(dir.path().join("config.toml"), text).expect("a file");
    let variables = [
        ("MENSHEN_WECHAT__SECRET", "fedcba9876543210fedcba9876543210"),
        ("MENSHEN_ADMIN__LISTEN", "127.0.0.1:9191"),
    ];
    let (code, out, said) = run(dir.path(), &["check"], &variables);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "config.toml: ok\n\
         \x20 mode      production\n\
         \x20 listen    127.0.0.1:8080, unix:/run/menshen.sock\n\
         \x20 admin     127.0.0.1:9191\n\
         \x20 auth API  /auth\n\
         \x20 upstream  http://127.0.0.1:3000, without the caller's token\n\
         \x20 tokens    EdDSA, for 15m\n\
         \x20 users     ids are UUIDs\n\
         \x20 store     sled:data\n\
         \x20 wechat    wx1, wx2\n\
         \x20 sms       off: sms.providers is empty\n\
         \x20 rules     health: GET /health public\n\
         \x20           everything else: required\n"
    );
}

#[test]
fn what_is_printed_is_what_is_kept_beside_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a directory");
    for (args, file) in [
        ("config", "config.toml"),
        ("openapi", "docs/openapi.json"),
        ("errors", "docs/errors.md"),
        ("metrics", "docs/metrics.md"),
    ] {
        let (code, out, said) = run(dir.path(), &[args], &[]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{args}");
        let kept = fs::read_to_string(root.join(file)).expect("a file");
        assert!(out == kept, "{file} is stale: `./run gen` writes it again");
    }
    // And what is printed is a config that runs.
    fs::write(
        dir.path().join("config.toml"),
        run(dir.path(), &["config"], &[]).1,
    )
    .expect("a file");
    let (code, out, said) = run(dir.path(), &["check"], &[]);
    assert_eq!(
        (code, out.lines().next()),
        (Some(0), Some("config.toml: ok")),
        "{said}"
    );
}

#[test]
fn the_contract_is_served_with_the_prefix_that_is_configured() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[auth]\nprefix = \"/gate/auth\"")
        .start();
    let answer = menshen.get("/gate/auth/openapi.json", &[]);
    assert_eq!(
        (answer.status, answer.header("Content-Type")),
        (200, Some("application/json"))
    );
    let text = String::from_utf8(answer.body).expect("text");
    assert!(
        text.contains("/gate/auth/wechat/login") && !text.contains("\"/auth/wechat/login"),
        "{text}"
    );
    assert_eq!(
        menshen
            .post("/gate/auth/wechat/login", &[], &json!({ "code": "alice" }))
            .status,
        200
    );
    // The usual place is the backend's now.
    assert_eq!(
        menshen
            .post("/auth/wechat/login", &[], &json!({ "code": "alice" }))
            .error(),
        Some("token_missing")
    );
    assert_eq!(
        wire::ask(menshen.http, "GET", "/gate/authors", &[], b"").error(),
        Some("token_missing")
    );
}

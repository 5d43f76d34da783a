//! `menshen doctor`: what it says of what works and of what does not.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use menshen::{
    clock::Clock,
    config::SmsProvider,
    dev::sms::{KEY_ID, SECRET as SMS_SECRET, SIGN_NAME, SimulatedSms, TEMPLATE},
};
use serde_json::Value;

use super::{
    backend::Backend,
    certificates,
    menshen::{Setup, command},
    wechat::{APP_ID, SECRET, Wechat},
};

/// Answers with this head beside the usual one.
fn backend_with(head: &'static str) -> Backend {
    Backend::answering(move |_, stream| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\n{head}Content-Length: 2\r\n\r\nok"
        )
        .is_ok()
    })
}

fn production(backend: &Backend, wechat: &Wechat, secret: &str) -> Setup {
    Setup::before(backend.address)
        .in_production()
        .with(&format!(
            "[wechat]\nbase_url = \"{}\"\napp_id = \"{APP_ID}\"\nsecret = \"{secret}\"\n",
            wechat.server.base_url()
        ))
}

/// The exit code and the findings; no secret is in what was printed.
fn doctor(dir: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = command(dir, &[&["doctor", "--json"], more].concat(), &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        !text.contains(SECRET) && !text.contains("access_token\""),
        "{text}"
    );
    let said: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("no JSON: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let findings = said["checks"].as_array().expect("a list").clone();
    let good = findings.iter().all(|finding| finding["state"] != "failed");
    assert_eq!(
        (said["ok"].as_bool(), output.status.code()),
        (Some(good), Some(i32::from(!good))),
        "{said:#}"
    );
    (output.status.code(), findings)
}

/// The states of one check, and all that it says.
fn of(findings: &[Value], check: &str) -> (Vec<String>, String) {
    let its = || findings.iter().filter(|finding| finding["check"] == check);
    let states = its()
        .map(|finding| finding["state"].as_str().expect("a state").to_owned())
        .collect();
    (states, its().map(ToString::to_string).collect())
}

#[test]
fn where_all_works_nothing_has_failed_and_nobody_is_the_worse_for_it() {
    let (backend, wechat) = (backend_with("Server: gunicorn\r\n"), Wechat::start());
    let setup = production(&backend, &wechat, SECRET);
    setup.config();
    let dir = setup.directory();

    // Before the first start.
    let (code, before) = doctor(dir.path(), &[]);
    assert_eq!(code, Some(0), "{before:#?}");
    for (check, state) in [
        ("backend", "ok"),
        ("wechat", "ok"),
        ("folding", "ok"),
        ("hooks", "skipped"),
        ("sms", "skipped"),
    ] {
        assert_eq!(of(&before, check).0, [state], "{check}: {before:#?}");
    }
    assert_eq!(of(&before, "store").0[0], "ok", "{before:#?}");
    assert!(
        !dir.path().join("data").exists() && !dir.path().join("store.key").exists(),
        "it makes nothing"
    );
    assert_eq!(of(&before, "running").0.len(), 1);

    // Beside a running one, which is not in the way and not disturbed.
    let menshen = setup.start();
    assert_eq!(menshen.login("alice-1")["is_new_user"], true);
    let text = std::fs::read_to_string(dir.path().join("config.toml")).expect("the config");
    let text = text.replace(
        "[admin]\nlisten = \"127.0.0.1:0\"",
        &format!("[admin]\nlisten = \"{}\"", menshen.admin),
    );
    std::fs::write(dir.path().join("config.toml"), text).expect("the config");
    let (code, beside) = doctor(dir.path(), &[]);
    assert_eq!(
        (code, of(&beside, "running").0),
        (Some(0), vec!["ok".to_owned()]),
        "{beside:#?}"
    );
    assert_eq!(menshen.login("alice-2")["is_new_user"], false);

    // For a person.
    let output = command(dir.path(), &["doctor"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("ok       backend"),
        "{said}"
    );
}

#[test]
fn a_backend_that_is_not_there_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let setup = Setup::before(free);
    setup.config();
    let dir = setup.directory();
    let (code, findings) = doctor(dir.path(), &[]);
    let (states, said) = of(&findings, "backend");
    assert_eq!(
        (code, states),
        (Some(1), vec!["failed".to_owned()]),
        "{findings:#?}"
    );
    assert!(
        said.contains("refused") && said.contains("upstream.urls"),
        "{said}"
    );
    // Development asks nobody.
    assert_eq!(of(&findings, "wechat").0, ["skipped"]);
}

#[test]
fn a_wrong_secret_is_told_in_words_without_the_secret() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let setup = production(&backend, &wechat, "ffffffffffffffffffffffffffffffff");
    setup.config();
    let dir = setup.directory();
    let (code, findings) = doctor(dir.path(), &[]);
    let (states, said) = of(&findings, "wechat");
    assert_eq!(
        (code, states),
        (Some(1), vec!["failed".to_owned()]),
        "{findings:#?}"
    );
    assert!(
        said.contains("40125") && said.contains("AppSecret") && !said.contains("ffffffff"),
        "{said}"
    );

    wechat.server.set_response(
        "stable_token",
        r#"{"errcode":40164,"errmsg":"invalid ip 203.0.113.9, not in whitelist"}"#,
    );
    let (_, findings) = doctor(dir.path(), &[]);
    let (_, said) = of(&findings, "wechat");
    assert!(said.contains("40164") && said.contains("IP list"), "{said}");
}

#[test]
fn without_an_access_token_there_is_nothing_to_try() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let setup = production(&backend, &wechat, SECRET).with("token_mode = \"none\"");
    setup.config();
    let (code, findings) = doctor(setup.directory().path(), &[]);
    assert_eq!(
        (code, of(&findings, "wechat").0),
        (Some(0), vec!["skipped".to_owned()]),
        "{findings:#?}"
    );
    assert_eq!(wechat.server.token_calls(), 0);
}

#[test]
fn a_clock_that_is_years_off_is_a_failure() {
    let backend = backend_with("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let setup = Setup::before(backend.address);
    setup.config();
    let (code, findings) = doctor(setup.directory().path(), &[]);
    let (states, said) = of(&findings, "clock");
    assert_eq!(
        (code, states),
        (Some(1), vec!["failed".to_owned()]),
        "{findings:#?}"
    );
    assert!(
        said.contains("behind ours") && said.contains("NTP"),
        "{said}"
    );
}

#[test]
fn an_echo_tells_whether_names_are_folded() {
    let backend = Backend::answering(|request, stream| {
        let folds = request.line.starts_with("GET /folds ");
        let names = request
            .headers()
            .into_iter()
            .map(|(name, _)| if folds { name.replace('_', "-") } else { name });
        let body = format!(
            "{{\"headers\":{{{}}}}}",
            names
                .map(|name| format!("\"{name}\":\"\""))
                .collect::<Vec<_>>()
                .join(",")
        );
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .is_ok()
    });
    let setup = Setup::before(backend.address);
    setup.config();
    let dir = setup.directory();
    for (path, says) in [
        ("/folds", "reads `_` in names as `-`"),
        ("/keeps", "distinguishes `_` and `-`"),
    ] {
        let (code, findings) = doctor(dir.path(), &["--echo", path]);
        let (states, said) = of(&findings, "folding");
        assert_eq!(
            (code, states),
            (Some(0), vec!["ok".to_owned()]),
            "{findings:#?}"
        );
        assert!(said.contains(says), "{path}: {said}");
    }
    let (_, findings) = doctor(dir.path(), &["--echo", "http://192.0.2.1/"]);
    assert_eq!(
        of(&findings, "folding").0,
        ["failed"],
        "no other server is asked"
    );
}

#[test]
fn a_key_that_others_may_read_and_one_that_is_gone_are_told() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let setup = production(&backend, &wechat, SECRET);
    let dir = setup.directory();
    let mut menshen = setup.start();
    menshen.login("alice-1");
    menshen.stop();
    let key = dir.path().join("store.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let (_, findings) = doctor(dir.path(), &[]);
    let (states, said) = of(&findings, "store");
    assert!(
        states.contains(&"warning".to_owned()) && said.contains("chmod 600"),
        "{findings:#?}"
    );

    std::fs::remove_file(&key).expect("the key");
    let (code, findings) = doctor(dir.path(), &[]);
    let (_, said) = of(&findings, "store");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("is missing") && said.contains("bring the key back"),
        "{findings:#?}"
    );
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("an address")
}

fn answers(status: &'static str) -> Backend {
    Backend::answering(move |_, stream| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}").is_ok()
    })
}

/// What the doctor says of one check with these lines in the config.
fn says(backend: &Backend, lines: &str, check: &str) -> (Option<i32>, Vec<String>, String) {
    let setup = Setup::before(SocketAddr::new(
        [127, 0, 0, 1].into(),
        backend.address.port(),
    ))
    .with(lines);
    setup.config();
    let (code, findings) = doctor(setup.directory().path(), &[]);
    let (states, said) = of(&findings, check);
    (code, states, said)
}

/// By which others know this machine: the source of its way to a network that is for documentation
/// only. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.connect("203.0.113.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|own| own.ip())
        .filter(|own| !own.is_loopback() && !own.is_unspecified())
}

#[test]
fn a_backend_that_others_reach_past_menshen_is_told() {
    let ok = |_: &super::backend::Received, stream: &mut std::net::TcpStream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    };
    let (hidden, open) = (Backend::start(), Backend::on("0.0.0.0:0", ok));
    let secret = "[upstream]\nurls = [\"http://127.0.0.1:PORT\"]\nshared_secret = \"kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA\"";
    let secret = secret.replace("PORT", &open.address.port().to_string());
    let (alone, seen, told) = (
        says(&hidden, "", "bypass"),
        says(&open, "", "bypass"),
        says(&open, &secret, "bypass"),
    );
    let state = |said: &(Option<i32>, Vec<String>, String)| (said.0, said.1.join(" "));
    // A machine that nobody else knows has nothing to show.
    let Some(own) = own_address() else {
        for said in [&alone, &seen, &told] {
            assert_eq!(state(said), (Some(0), "skipped".to_owned()), "{}", said.2);
            assert!(said.2.contains("no address but loopback"), "{}", said.2);
        }
        return;
    };
    assert_eq!(state(&alone), (Some(0), "ok".to_owned()), "{}", alone.2);
    assert!(alone.2.contains("on loopback only"), "{}", alone.2);
    assert_eq!(state(&seen), (Some(0), "warning".to_owned()), "{}", seen.2);
    assert!(
        seen.2.contains(&own.to_string()) && seen.2.contains("who reaches it directly"),
        "{}",
        seen.2
    );
    assert_eq!(state(&told), (Some(0), "ok".to_owned()), "{}", told.2);
    assert!(
        told.2.contains("it has to refuse requests without"),
        "{}",
        told.2
    );
}

#[test]
fn a_certificate_is_judged_by_its_end() {
    let backend = Backend::start();
    for (name, expected, words) in [
        ("ended", ("failed", 1), "days ago: clients reject it"),
        // A whole day less where the second has changed since.
        ("soon", ("warning", 0), "it fits its key, and expires in "),
        ("late", ("ok", 0), "is good for"),
    ] {
        let setup = Setup::before(backend.address).with(&format!(
            "[server]\nlisten = [\"tls:127.0.0.1:0\"]\n[server.tls]\ncert_file = \"{name}.pem\"\nkey_file = \"{name}.key\""
        ));
        setup.config();
        let dir = setup.directory();
        let key = format!(
            "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem"
        );
        match name {
            "ended" => certificates::ended(dir.path(), name),
            days => {
                let days = if days == "soon" { 2 } else { 90 };
                certificates::openssl(
                    dir.path(),
                    &format!("req -x509 {key} -days {days} -subj /CN=localhost"),
                );
            }
        }
        let (code, findings) = doctor(dir.path(), &[]);
        let (states, said) = of(&findings, "certificate");
        assert_eq!(
            (states, code),
            (vec![expected.0.to_owned()], Some(expected.1)),
            "{name}: {findings:#?}"
        );
        assert!(said.contains(words), "{name}: {said}");
    }
}

#[test]
fn the_keys_of_other_issuers_are_fetched_and_looked_at() {
    const KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let publishes = |set: &'static str| {
        Backend::answering(move |_, stream| {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}",
                set.len()
            )
            .is_ok()
        })
    };
    let (good, empty, page, broken) = (
        publishes(KEY),
        publishes(r#"{"keys":[]}"#),
        publishes("<html>"),
        answers("500 Oops"),
    );
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let cases = [
        ("good", good.address, "has 1 keys that can be used"),
        ("empty", empty.address, "is an empty set"),
        ("page", page.address, "is not a JWK set"),
        ("broken", broken.address, "answers 500"),
        (
            "silent",
            silent.local_addr().expect("an address"),
            "gave nothing",
        ),
        ("nobody", nobody(), "gave nothing"),
    ];
    let issuer = |(name, address, _): &(&str, SocketAddr, &str)| {
        format!(
            "[[issuer]]\nname = \"{name}\"\nissuer = \"https://{name}.example\"\naudience = \"api\"\nalgorithms = [\"EdDSA\"]\n\
             jwks_url = \"http://{address}/keys?key=hunter2\"\n"
        )
    };
    let (code, states, said) = says(
        &Backend::start(),
        &cases.iter().map(issuer).collect::<String>(),
        "issuers",
    );
    assert_eq!(
        (code, states),
        (
            Some(1),
            ["ok", "failed", "failed", "failed", "failed", "failed"]
                .map(str::to_owned)
                .into()
        )
    );
    for (name, address, words) in cases {
        assert!(
            said.contains(&format!("{name}: http://{address} ")) && said.contains(words),
            "{name}: {said}"
        );
    }
    assert!(
        said.contains("its tokens are refused") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn whoever_takes_hooks_is_looked_for_and_told_nothing() {
    let (good, failing, garbage) = (
        answers("404 Not Found"),
        answers("500 Oops"),
        Backend::answering(|_, stream| stream.write_all(b"220 mail.example ESMTP\r\n").is_ok()),
    );
    for (address, expected, words) in [
        (good.address, ("ok", 0), "is reached"),
        (failing.address, ("warning", 0), "answers GET / with 500"),
        (garbage.address, ("failed", 1), "not in HTTP/1.1"),
        (nobody(), ("failed", 1), "correct hooks.url"),
    ] {
        let hooks = format!(
            "[hooks]\nurl = \"http://{address}/internal/hunter2\"\nsecret = \"0123456789abcdef0123456789abcdef\""
        );
        let (code, states, said) = says(&Backend::start(), &hooks, "hooks");
        assert_eq!(
            (states, code),
            (vec![expected.0.to_owned()], Some(expected.1)),
            "{said}"
        );
        assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
    }
    for asked in [&good, &failing] {
        let lines: Vec<_> = asked
            .received()
            .iter()
            .map(|request| request.line.clone())
            .collect();
        assert_eq!(lines, ["GET / HTTP/1.1"], "no hook was sent");
    }
}

#[test]
fn whoever_sends_codes_is_looked_for_and_sends_none() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let sms = runtime
        .block_on(SimulatedSms::start(Clock::System))
        .expect("a port");
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let section = |aliyun: &str| {
        format!(
            "[sms]\nproviders = [\"tencent\", \"aliyun\"]\n\
             [sms.tencent]\nendpoint = \"{}\"\nsecret_id = \"{KEY_ID}\"\nsecret_key = \"{SMS_SECRET}\"\n\
             sdk_app_id = \"1400006666\"\nsign_name = \"{SIGN_NAME}\"\ntemplate_id = \"{TEMPLATE}\"\n\
             [sms.aliyun]\nendpoint = \"{aliyun}\"\naccess_key_id = \"{KEY_ID}\"\naccess_key_secret = \"{SMS_SECRET}\"\n\
             sign_name = \"{SIGN_NAME}\"\ntemplate_code = \"{TEMPLATE}\"\n",
            sms.base_url()
        )
    };
    let gone = format!("http://{}", nobody());
    for (aliyun, expected, code) in [
        (sms.base_url(), ["ok", "ok"], 0),
        (gone.clone(), ["ok", "failed"], 1),
    ] {
        let setup = production(&backend, &wechat, SECRET).with(&section(&aliyun));
        setup.config();
        let (exit, findings) = doctor(setup.directory().path(), &[]);
        let (states, said) = of(&findings, "sms");
        assert_eq!(
            (states, exit),
            (expected.map(str::to_owned).into(), Some(code)),
            "{findings:#?}"
        );
        assert!(
            said.contains(&aliyun) && !said.contains(KEY_ID) && !said.contains(SMS_SECRET),
            "{said}"
        );
        assert_eq!(said.contains("cannot be reached"), aliyun == gone, "{said}");
    }
    assert_eq!(
        (
            sms.sent().len(),
            sms.calls(SmsProvider::Tencent),
            sms.calls(SmsProvider::Aliyun)
        ),
        (0, 0, 0)
    );
}

#[test]
fn a_bad_config_is_bad_usage() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(
        dir.path().join("config.toml"),
        "mode = \"development\"\n[server]\nlisen = []\n",
    )
    .expect("a file");
    assert_eq!(
        command(dir.path(), &["doctor"], &[]).status.code(),
        Some(64)
    );
}

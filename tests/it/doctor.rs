//! `menshen doctor`: what it says of what works and of what does not.

use std::{io::Write, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use super::{
    backend::Backend,
    menshen::{Setup, command},
    wechat::{APP_ID, SECRET, Wechat},
};

/// Answers with this head beside the usual one.
fn backend_with(head: &'static str) -> Backend {
    Backend::answering(move |_, stream| write!(stream, "HTTP/1.1 200 OK\r\n{head}Content-Length: 2\r\n\r\nok").is_ok())
}

fn production(backend: &Backend, wechat: &Wechat, secret: &str) -> Setup {
    Setup::before(backend.address).in_production().with(&format!(
        "[wechat]\nbase_url = \"{}\"\napp_id = \"{APP_ID}\"\nsecret = \"{secret}\"\n",
        wechat.server.base_url()
    ))
}

/// The exit code and the findings; no secret is in what was printed.
fn doctor(dir: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = command(dir, &[&["doctor", "--json"], more].concat(), &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains(SECRET) && !text.contains("access_token\""), "{text}");
    let said: Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let findings = said["checks"].as_array().expect("a list").clone();
    let good = findings.iter().all(|finding| finding["state"] != "failed");
    assert_eq!((said["ok"].as_bool(), output.status.code()), (Some(good), Some(i32::from(!good))), "{said:#}");
    (output.status.code(), findings)
}

/// The states of one check, and all that it says.
fn of(findings: &[Value], check: &str) -> (Vec<String>, String) {
    let its = || findings.iter().filter(|finding| finding["check"] == check);
    let states = its().map(|finding| finding["state"].as_str().expect("a state").to_owned()).collect();
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
    for (check, state) in [("backend", "ok"), ("wechat", "ok"), ("folding", "ok"), ("hooks", "skipped"), ("sms", "skipped")]
    {
        assert_eq!(of(&before, check).0, [state], "{check}: {before:#?}");
    }
    assert_eq!(of(&before, "store").0[0], "ok", "{before:#?}");
    assert!(!dir.path().join("data").exists() && !dir.path().join("store.key").exists(), "it makes nothing");
    assert_eq!(of(&before, "running").0.len(), 1);

    // Beside a running one, which is not in the way and not disturbed.
    let menshen = setup.start();
    assert_eq!(menshen.login("alice-1")["is_new_user"], true);
    let text = std::fs::read_to_string(dir.path().join("config.toml")).expect("the config");
    let text = text.replace("[admin]\nlisten = \"127.0.0.1:0\"", &format!("[admin]\nlisten = \"{}\"", menshen.admin));
    std::fs::write(dir.path().join("config.toml"), text).expect("the config");
    let (code, beside) = doctor(dir.path(), &[]);
    assert_eq!((code, of(&beside, "running").0), (Some(0), vec!["ok".to_owned()]), "{beside:#?}");
    assert_eq!(menshen.login("alice-2")["is_new_user"], false);

    // For a person.
    let output = command(dir.path(), &["doctor"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("ok       backend"), "{said}");
}

#[test]
fn a_backend_that_is_not_there_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let setup = Setup::before(free);
    setup.config();
    let dir = setup.directory();
    let (code, findings) = doctor(dir.path(), &[]);
    let (states, said) = of(&findings, "backend");
    assert_eq!((code, states), (Some(1), vec!["failed".to_owned()]), "{findings:#?}");
    assert!(said.contains("refused") && said.contains("upstream.urls"), "{said}");
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
    assert_eq!((code, states), (Some(1), vec!["failed".to_owned()]), "{findings:#?}");
    assert!(said.contains("40125") && said.contains("AppSecret") && !said.contains("ffffffff"), "{said}");

    wechat.server.write("stable_token", r#"{"errcode":40164,"errmsg":"invalid ip 203.0.113.9, not in whitelist"}"#);
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
    assert_eq!((code, of(&findings, "wechat").0), (Some(0), vec!["skipped".to_owned()]), "{findings:#?}");
    assert_eq!(wechat.server.token_calls(), 0);
}

#[test]
fn a_clock_that_is_years_off_is_a_failure() {
    let backend = backend_with("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let setup = Setup::before(backend.address);
    setup.config();
    let (code, findings) = doctor(setup.directory().path(), &[]);
    let (states, said) = of(&findings, "clock");
    assert_eq!((code, states), (Some(1), vec!["failed".to_owned()]), "{findings:#?}");
    assert!(said.contains("behind ours") && said.contains("NTP"), "{said}");
}

#[test]
fn an_echo_tells_whether_names_are_folded() {
    let backend = Backend::answering(|request, stream| {
        let folds = request.line.starts_with("GET /folds ");
        let names = request.headers().into_iter().map(|(name, _)| if folds { name.replace('_', "-") } else { name });
        let body =
            format!("{{\"headers\":{{{}}}}}", names.map(|name| format!("\"{name}\":\"\"")).collect::<Vec<_>>().join(","));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).is_ok()
    });
    let setup = Setup::before(backend.address);
    setup.config();
    let dir = setup.directory();
    for (path, says) in [("/folds", "reads `_` in names as `-`"), ("/keeps", "tells `_` from `-`")] {
        let (code, findings) = doctor(dir.path(), &["--echo", path]);
        let (states, said) = of(&findings, "folding");
        assert_eq!((code, states), (Some(0), vec!["ok".to_owned()]), "{findings:#?}");
        assert!(said.contains(says), "{path}: {said}");
    }
    let (_, findings) = doctor(dir.path(), &["--echo", "http://192.0.2.1/"]);
    assert_eq!(of(&findings, "folding").0, ["failed"], "no other server is asked");
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
    assert!(states.contains(&"warning".to_owned()) && said.contains("chmod 600"), "{findings:#?}");

    std::fs::remove_file(&key).expect("the key");
    let (code, findings) = doctor(dir.path(), &[]);
    let (_, said) = of(&findings, "store");
    assert_eq!(code, Some(1));
    assert!(said.contains("is missing") && said.contains("bring the key back"), "{findings:#?}");
}

#[test]
fn a_bad_config_is_bad_usage() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("config.toml"), "mode = \"development\"\n[server]\nlisen = []\n").expect("a file");
    assert_eq!(command(dir.path(), &["doctor"], &[]).status.code(), Some(64));
}

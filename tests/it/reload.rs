//! Another config while clients are connected: by signal, by changed files, and what a bad one
//! does.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustix::process::Signal;
use serde_json::json;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Client},
};

/// Only signals.
const BY_SIGNAL: &str = "[reload]\ninterval = \"0s\"";
/// Files are looked at all the time.
const BY_FILE: &str = "[reload]\ninterval = \"20ms\"";

const APPLIED: &str = "menshen_config_reloads_total{result=\"applied\"}";
const REFUSED: &str = "menshen_config_reloads_total{result=\"refused\"}";

fn rule(path: &str) -> String {
    format!("\n[[rule]]\nname = \"open\"\npath = \"{path}\"\naccess = \"public\"\n")
}

/// Adds to the config file, at once as an editor does.
fn add(menshen: &Menshen, text: &str) {
    let file = menshen.directory().join("config.toml");
    let whole = fs::read_to_string(&file).expect("a config") + text;
    replace(&file, &whole);
}

fn replace(file: &Path, text: &str) {
    let aside = file.with_extension("new");
    fs::write(&aside, text).expect("a file");
    fs::rename(aside, file).expect("a file in place");
}

/// Whether the config that was read last is the one in use.
fn in_use(menshen: &Menshen) -> bool {
    menshen.metric("menshen_config_applied") > 0.5
}

fn readyz(menshen: &Menshen) -> serde_json::Value {
    wire::ask(menshen.admin, "GET", "/readyz", &[], b"").json()
}

#[test]
fn a_signal_brings_new_rules_to_connections_that_are_open() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(BY_SIGNAL).start();
    let mut client = Client::connect(menshen.http);
    client.send(wire::request("GET", "/menu", &[], b""));
    assert_eq!(client.receive().expect("an answer").status, 401);

    add(&menshen, &rule("/menu"));
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric(APPLIED, 1.0);
    client.send(wire::request("GET", "/menu", &[], b""));
    assert_eq!(client.receive().expect("the same connection").status, 200);
    assert!(in_use(&menshen));
    let state = readyz(&menshen);
    assert!(
        state["details"]["config"]
            .as_str()
            .is_some_and(|said| said.starts_with("read again at")),
        "{state}"
    );
    menshen.wait_for_log("config.reloaded");
}

#[test]
fn a_changed_file_is_enough() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(BY_FILE).start();
    assert_eq!(menshen.get("/menu", &[]).status, 401);
    add(&menshen, &rule("/menu"));
    menshen.wait_for_metric(APPLIED, 1.0);
    assert_eq!(menshen.get("/menu", &[]).status, 200);
}

#[test]
fn a_directory_that_is_swapped_as_kubernetes_does_is_a_change() {
    let backend = Backend::start();
    let setup = Setup::before(backend.address).with(BY_FILE);
    let (file, dir) = (setup.config(), setup.directory());
    let volume = dir.path().join("volume");
    let text = fs::read_to_string(&file).expect("a config");
    let write = |name: &str, text: &str| {
        fs::create_dir_all(volume.join(name)).expect("a directory");
        fs::write(volume.join(name).join("config.toml"), text).expect("a file");
    };
    write("..2026_1", &text);
    symlink("..2026_1", volume.join("..data")).expect("a link");
    symlink("..data/config.toml", volume.join("config.toml")).expect("a link");

    let menshen = setup.reading(volume.join("config.toml")).start();
    assert_eq!(menshen.get("/menu", &[]).status, 401);
    write("..2026_2", &(text + &rule("/menu")));
    symlink("..2026_2", volume.join("..data_tmp")).expect("a link");
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("a swap");
    menshen.wait_for_metric(APPLIED, 1.0);
    assert_eq!(menshen.get("/menu", &[]).status, 200);
}

#[test]
fn a_bad_config_changes_nothing_and_is_told() {
    let backend = Backend::start();
    let mut menshen = Setup::before(backend.address)
        .with(BY_SIGNAL)
        .with(&rule("/menu"))
        .start();
    menshen.expect_error("config.toml");
    menshen.expect_error("the new config is refused");
    let file = menshen.directory().join("config.toml");
    let good = fs::read_to_string(&file).expect("a config");
    let secret = "s3cr3t-that-nobody-may-see";
    for (n, bad) in [
        format!("{good}\n[[rule]]\nname = \"x\"\npath = \"no-slash\"\n"),
        format!("{good}\n[wechat]\nsecret = \"{secret}\"\nsecrett = \"{secret}\"\n"),
        "[[[".to_owned(),
        good.replace("public", "pubic"),
    ]
    .iter()
    .enumerate()
    {
        replace(&file, bad);
        menshen.signal(Signal::HUP);
        menshen.wait_for_metric(REFUSED, f64::from(u8::try_from(n).expect("few") + 1));
        assert_eq!(menshen.get("/menu", &[]).status, 200, "{n}");
        assert_eq!(menshen.get("/orders", &[]).status, 401, "{n}");
        assert!(!in_use(&menshen));
    }
    let state = readyz(&menshen);
    assert_eq!(
        state["ok"], true,
        "a typo takes nobody out of service: {state}"
    );
    assert!(
        state["details"]["config"]
            .as_str()
            .is_some_and(|said| said.contains("refused")),
        "{state}"
    );
    assert!(
        !menshen.log().iter().any(|line| line.contains(secret))
            && !state.to_string().contains(secret)
    );

    replace(&file, &good);
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric(APPLIED, 1.0);
    assert!(in_use(&menshen));
}

#[test]
fn a_changed_secret_file_counts_from_now_on_and_old_tokens_stay_good_while_it_is_listed() {
    let backend = Backend::start();
    let dir = Setup::before(backend.address).directory();
    let (old, new) = (
        "0123456789abcdef0123456789abcdef-old",
        "0123456789abcdef0123456789abcdef-new",
    );
    let secret = dir.path().join("tokens.secret");
    fs::write(&secret, old).expect("a secret");
    let menshen = Setup::before(backend.address)
        .in_directory(dir)
        .with(BY_FILE)
        .with(&format!("[tokens]\nalgorithm = \"HS256\"\nsecret_file = \"tokens.secret\"\nprevious_secrets = [\"{old}\"]"))
        .start();
    let before = format!("Bearer {}", menshen.token("alice"));
    replace(&secret, new);
    menshen.wait_for_metric(APPLIED, 1.0);
    let after = format!("Bearer {}", menshen.token("alice"));
    for token in [&before, &after] {
        assert_eq!(
            menshen.get("/orders", &[("Authorization", token)]).status,
            200
        );
    }
    add(&menshen, "\n");
    let file = menshen.directory().join("config.toml");
    let without = fs::read_to_string(&file)
        .expect("a config")
        .replace(&format!("previous_secrets = [\"{old}\"]"), "");
    replace(&file, &without);
    menshen.wait_for_metric(APPLIED, 2.0);
    wait_until(|| menshen.get("/orders", &[("Authorization", &before)]).status == 401);
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &after)]).status,
        200
    );
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !done() {
        assert!(std::time::Instant::now() < end, "it does not come about");
    }
}

#[test]
fn sessions_limits_and_revocations_live_on() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(BY_SIGNAL)
        .with("[limits]\nlogin_per_ip = \"3/1h\"")
        .start();
    let (kept, ended) = (menshen.token("alice"), menshen.token("bob"));
    let (kept, ended) = (format!("Bearer {kept}"), format!("Bearer {ended}"));
    assert_eq!(
        menshen
            .post("/auth/logout", &[("Authorization", &ended)], &json!({}))
            .status,
        204
    );
    add(&menshen, &rule("/menu"));
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric(APPLIED, 1.0);
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &kept)]).status,
        200
    );
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &ended)]).status,
        401
    );
    assert_eq!(
        menshen
            .post("/auth/wechat/login", &[], &json!({ "code": "carol" }))
            .status,
        200
    );
    assert_eq!(
        menshen
            .post("/auth/wechat/login", &[], &json!({ "code": "dave" }))
            .status,
        429,
        "the limit remembers"
    );
}

#[test]
fn a_dialect_and_another_backend_come_without_a_restart() {
    let (first, second) = (Backend::start(), Backend::start());
    let menshen = Setup::before(first.address)
        .with(BY_SIGNAL)
        .with(&rule("/menu"))
        .start();
    assert_eq!(menshen.get("/menu", &[]).status, 200);
    let file = menshen.directory().join("config.toml");
    let text = fs::read_to_string(&file).expect("a config");
    let text = text.replace(&first.address.to_string(), &second.address.to_string());
    replace(
        &file,
        &(text + "\n[[dialect]]\nkind = \"nest\"\nprefix = \"/api/v1\"\n"),
    );
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric(APPLIED, 1.0);
    assert_eq!(menshen.get("/menu", &[]).status, 200);
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
    let answer = menshen.post("/api/v1/auth/wx-login", &[], &json!({ "code": "alice" }));
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (200, &json!(200)),
        "{}",
        answer.json()
    );
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_counts() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(BY_SIGNAL).start();
    let file = menshen.directory().join("config.toml");
    let text = fs::read_to_string(&file).expect("a config");
    let text = text.replace("url = \"sled:data\"", "url = \"sled:elsewhere\"");
    let text = text.replace(
        "listen = [\"127.0.0.1:0\"]",
        "listen = [\"127.0.0.1:0\"]\nthreads = 1",
    );
    replace(&file, &(text + &rule("/menu")));
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric(APPLIED, 1.0);
    assert_eq!(menshen.get("/menu", &[]).status, 200);
    let state = readyz(&menshen).to_string();
    assert!(
        state.contains("need a restart")
            && state.contains("server.threads")
            && state.contains("store"),
        "{state}"
    );
    assert!(!menshen.directory().join("elsewhere").exists());
    let login = menshen.login("alice");
    assert_eq!(
        login["user"]["user_type"], "user",
        "the store before is in use"
    );
}

#[test]
fn the_level_of_the_log_changes_while_it_runs() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(BY_SIGNAL).start();
    let file = menshen.directory().join("config.toml");
    let text = fs::read_to_string(&file).expect("a config");
    for (n, level) in [(1.0, "error"), (2.0, "info")] {
        replace(
            &file,
            &format!("{text}\n[telemetry]\nlog_level = \"{level}\"\n"),
        );
        menshen.signal(Signal::HUP);
        menshen.wait_for_metric(APPLIED, n);
    }
    let line = "the new config is in use";
    menshen.wait_for_log(line);
    assert_eq!(
        menshen
            .log()
            .iter()
            .filter(|logged| logged.contains(line))
            .count(),
        1,
        "the first one was not for this level"
    );
}

#[test]
fn no_request_fails_while_configs_change_under_load() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(BY_SIGNAL)
        .with(&rule("/menu"))
        .start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (done, token, address) = (done.clone(), token.clone(), menshen.http);
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut served = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    client.send(wire::request(
                        "GET",
                        "/orders",
                        &[("Authorization", &token)],
                        b"",
                    ));
                    assert_eq!(
                        client
                            .receive()
                            .expect("an answer on the same connection")
                            .status,
                        200
                    );
                    client.send(wire::request(
                        "POST",
                        "/orders",
                        &[("Authorization", &token)],
                        b"tea",
                    ));
                    assert_eq!(
                        client
                            .receive()
                            .expect("an answer on the same connection")
                            .status,
                        200
                    );
                    served += 2;
                }
                served
            })
        })
        .collect();
    let file = menshen.directory().join("config.toml");
    let text = fs::read_to_string(&file).expect("a config");
    for n in 1..=10_u8 {
        let timeout = format!("body_timeout = \"{}s\"\nlisten", 30 + n);
        replace(&file, &text.replacen("listen", &timeout, 1));
        menshen.signal(Signal::HUP);
        menshen.wait_for_metric(APPLIED, f64::from(n));
    }
    done.store(true, Ordering::Relaxed);
    let served: u32 = clients
        .into_iter()
        .map(|client| client.join().expect("a client without failures"))
        .sum();
    assert!(served > 40, "{served}");
}

#[test]
fn a_request_keeps_the_config_that_it_began_with() {
    let (go_on, waits) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (told, begun) = (go_on.clone(), waits.clone());
    let backend = Backend::answering(move |_, stream| {
        begun.store(true, Ordering::Release);
        while !told.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let menshen = Setup::before(backend.address)
        .with(BY_SIGNAL)
        .with(&rule("/menu"))
        .start();
    let mut client = Client::connect(menshen.http);
    client.send(wire::request("GET", "/menu", &[], b""));
    wait_until(|| waits.load(Ordering::Acquire));
    let file = menshen.directory().join("config.toml");
    let text = fs::read_to_string(&file).expect("a config");
    replace(&file, &text.replace("public", "deny"));
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric(APPLIED, 1.0);
    go_on.store(true, Ordering::Release);
    assert_eq!(client.receive().expect("the answer").status, 200);
    client.send(wire::request("GET", "/menu", &[], b""));
    assert_eq!(client.receive().expect("an answer").status, 403);
}

const OLD_SECRET: &str = "kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA-old";
const NEW_SECRET: &str = "kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA-new";

/// Has menshen read its config, which is good.
fn reread(menshen: &Menshen, times: u8) {
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric(APPLIED, f64::from(times));
}

#[test]
fn an_issuer_comes_changes_its_secret_and_goes_while_clients_are_connected() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(BY_SIGNAL).start();
    let secret = menshen.directory().join("legacy.secret");
    let config = menshen.directory().join("config.toml");
    let without = fs::read_to_string(&config).expect("a config");
    fs::write(&secret, OLD_SECRET).expect("a secret");
    let signed_with = |secret: &str| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock")
            .as_secs();
        let claims = json!({ "iss": "nest-app", "sub": "42", "iat": now, "exp": now + 600 });
        jsonwebtoken::encode(
            &Header::default(),
            &claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .expect("a token")
    };
    let (own, old, new) = (
        menshen.token("alice"),
        signed_with(OLD_SECRET),
        signed_with(NEW_SECRET),
    );
    let mut client = Client::connect(menshen.http);
    let mut verdicts = || {
        [&own, &old, &new].map(|token| {
            client.send(wire::request(
                "GET",
                "/orders",
                &[("Authorization", &format!("Bearer {token}"))],
                b"",
            ));
            client
                .receive()
                .expect("an answer on the same connection")
                .status
        })
    };
    assert_eq!(verdicts(), [200, 401, 401]);
    add(
        &menshen,
        "\n[[issuer]]\nname = \"legacy\"\nissuer = \"nest-app\"\nalgorithms = [\"HS256\"]\nsecret_file = \"legacy.secret\"\n",
    );
    reread(&menshen, 1);
    assert_eq!(verdicts(), [200, 200, 401]);
    assert_eq!(backend.last().folded("x-user-id"), ["42"]);
    assert_eq!(readyz(&menshen)["issuers"]["legacy"], "ok");

    replace(&secret, NEW_SECRET);
    reread(&menshen, 2);
    assert_eq!(
        verdicts(),
        [200, 401, 200],
        "what was verified before counts no more"
    );

    replace(&config, &without);
    reread(&menshen, 3);
    assert_eq!(verdicts(), [200, 401, 401]);
    assert_eq!(readyz(&menshen)["issuers"], serde_json::Value::Null);
}

#[test]
fn a_changed_secret_of_the_backend_signs_the_very_next_request_of_a_session() {
    let backend = Backend::start();
    let setup = Setup::before(backend.address)
        .with(BY_SIGNAL)
        .with(&format!(
            "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"mint\"",
            backend.address
        ))
        .with("[mint]\nsecret_file = \"backend.secret\"\nclaims = { sub = \"{user.id}\" }");
    let secret = setup.directory().path().join("backend.secret");
    fs::write(&secret, OLD_SECRET).expect("a secret");
    let menshen = setup.start();
    let bearer = format!("Bearer {}", menshen.token("alice"));
    let mut client = Client::connect(menshen.http);
    // Who has signed what the backend is shown.
    let mut signer = || {
        client.send(wire::request(
            "GET",
            "/orders",
            &[("Authorization", &bearer)],
            b"",
        ));
        assert_eq!(
            client
                .receive()
                .expect("an answer on the same connection")
                .status,
            200
        );
        let shown = backend.last().folded("authorization");
        let token = shown[0]
            .strip_prefix("Bearer ")
            .expect("a token")
            .to_owned();
        let is_of = |secret: &&str| {
            let mut rules = Validation::new(Algorithm::HS256);
            rules.validate_aud = false;
            jsonwebtoken::decode::<serde_json::Value>(
                &token,
                &DecodingKey::from_secret(secret.as_bytes()),
                &rules,
            )
            .is_ok()
        };
        [OLD_SECRET, NEW_SECRET]
            .into_iter()
            .find(is_of)
            .expect("one of the two")
    };
    assert_eq!((signer(), signer()), (OLD_SECRET, OLD_SECRET));
    replace(&secret, NEW_SECRET);
    reread(&menshen, 1);
    assert_eq!((signer(), signer()), (NEW_SECRET, NEW_SECRET));
    assert!(!menshen.log().join("\n").contains(NEW_SECRET));
}

/// The first start writes the key of the store to its file, so the config reads differently from
/// then on, and means the same.
#[test]
fn a_reload_after_the_start_that_made_the_keys_needs_no_restart() {
    let (backend, wechat) = (Backend::start(), super::wechat::Wechat::start());
    let setup = Setup::before(backend.address)
        .in_production()
        .with(&format!(
            "[wechat]\nbase_url = \"{}\"\napp_id = \"{}\"\nsecret = \"{}\"\n",
            wechat.server.base_url(),
            super::wechat::APP_ID,
            super::wechat::SECRET,
        ));
    let menshen = setup.start();
    assert!(menshen.directory().join("store.key").exists());
    menshen.signal(Signal::HUP);
    menshen.wait_for_log("the new config is in use");
    let restart: Vec<_> = menshen
        .log()
        .into_iter()
        .filter(|line| line.contains("restart"))
        .collect();
    assert!(restart.is_empty(), "{restart:?}");
    let ready = wire::ask(menshen.admin, "GET", "/readyz", &[], b"").json();
    let config = ready["details"]["config"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(
        config.starts_with("read again at ") && !config.contains("restart"),
        "{config}"
    );
}

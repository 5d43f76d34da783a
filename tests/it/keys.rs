//! The keys that sign: what is published of them, where they live and how they change.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ::menshen::{
    clock::Clock,
    config::{self, SecretText, StoreConfig},
    entropy::Entropy,
    store::{self, OpenOptions, Store, StoredKey, WrappingKeys},
    token,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{self, Menshen, Setup},
    wire::{self, Answer},
};

const ADMIN_TOKEN: &str = "a-token-of-an-operator-0123456789abcdef";
/// The admin API is open to whoever knows the token in this file.
const ADMIN: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"";
const QUICK_STOP: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"";

pub(super) fn call(menshen: &Menshen, token: &str) -> Answer {
    menshen.get("/orders", &[("Authorization", &format!("Bearer {token}"))])
}

/// A part of a token as JSON: 0 is the header, 1 the claims.
pub(super) fn part(token: &str, n: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(n).expect("a part"))
        .expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

pub(super) fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().expect("a kid").to_owned()
}

pub(super) fn jwks(menshen: &Menshen) -> Value {
    let answer = menshen.get("/auth/jwks.json", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("Cache-Control"), Some("public, max-age=300"));
    answer.json()
}

/// The key ids that are published, in their order.
fn published(menshen: &Menshen) -> Vec<String> {
    let keys = jwks(menshen)["keys"].as_array().expect("a list").clone();
    keys.iter()
        .map(|key| key["kid"].as_str().expect("a kid").to_owned())
        .collect()
}

/// Checks a token as a backend does that has nothing but the published keys.
fn verifies(token: &str, keys: &Value) -> bool {
    let keys: JwkSet = serde_json::from_value(keys.clone()).expect("a JWK set");
    let header = jsonwebtoken::decode_header(token).expect("a header");
    let Some(key) = keys.find(header.kid.as_deref().unwrap_or_default()) else {
        return false;
    };
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&["backend"]);
    rules.set_issuer(&["menshen"]);
    jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).expect("a key"), &rules)
        .is_ok()
}

/// A login, a call, what is published, and a restart, with keys of one kind.
fn keys_of_this_kind_work_are_published_and_stay(algorithm: &str, members: &[&str]) {
    let backend = Backend::start();
    let section = format!("[tokens]\nalgorithm = \"{algorithm}\"");
    let mut first = Setup::before(backend.address)
        .with(QUICK_STOP)
        .with(&section)
        .start();
    let token = first.token("alice");
    assert_eq!(part(&token, 0)["alg"], algorithm);
    assert_eq!(call(&first, &token).status, 200);
    let set = jwks(&first);
    let keys = set["keys"].as_array().expect("a list");
    if members.is_empty() {
        assert!(keys.is_empty(), "a shared secret is never published: {set}");
    } else {
        assert_eq!(keys.len(), 1);
        let mut names: Vec<_> = keys[0]
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(names, members, "the public part and nothing else");
        assert_eq!(
            (&keys[0]["alg"], &keys[0]["use"]),
            (&json!(algorithm), &json!("sig"))
        );
        assert_eq!(keys[0]["kid"], kid(&token));
        assert!(verifies(&token, &set));
    }

    let dir = first.keep_directory();
    first.stop();
    let second = Setup::before(backend.address)
        .in_directory(dir)
        .with(QUICK_STOP)
        .with(&section)
        .start();
    assert_eq!(jwks(&second), set);
    assert_eq!(
        call(&second, &token).status,
        200,
        "a token from before the restart"
    );
    assert_eq!(kid(&second.token("alice")), kid(&token));
}

#[test]
fn eddsa_keys_work_are_published_and_stay() {
    keys_of_this_kind_work_are_published_and_stay(
        "EdDSA",
        &["alg", "crv", "kid", "kty", "use", "x"],
    );
}

#[test]
fn es256_keys_work_are_published_and_stay() {
    keys_of_this_kind_work_are_published_and_stay(
        "ES256",
        &["alg", "crv", "kid", "kty", "use", "x", "y"],
    );
}

#[test]
fn rs256_keys_work_are_published_and_stay() {
    keys_of_this_kind_work_are_published_and_stay("RS256", &["alg", "e", "kid", "kty", "n", "use"]);
}

#[test]
fn an_hs256_secret_works_and_stays_and_is_not_published() {
    keys_of_this_kind_work_are_published_and_stay("HS256", &[]);
}

/// What `menshen keys` prints, when it succeeds.
fn keys_command(dir: &Path, what: &str, variables: &[(&str, &str)]) -> String {
    let output = menshen::command(dir, &["keys", what], variables);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{what}: {out}{err}");
    out.into_owned()
}

#[test]
fn a_running_process_rotates_its_keys_and_old_tokens_go_on() {
    let backend = Backend::start();
    let mut menshen = Setup::before(backend.address).with(ADMIN).start();
    let admin = menshen.admin.to_string();
    let there = [("MENSHEN_ADMIN__LISTEN", admin.as_str())];
    let old = menshen.token("alice");
    let list = keys_command(menshen.directory(), "list", &there);
    assert_eq!(
        list,
        format!("algorithm EdDSA\n{}  signs and verifies\n", kid(&old))
    );

    let said = keys_command(menshen.directory(), "rotate", &there);
    let new = menshen.token("alice");
    assert_ne!(kid(&new), kid(&old));
    assert_eq!(said, format!("{} signs from now on\n", kid(&new)));
    assert_eq!(published(&menshen), [kid(&new), kid(&old)]);
    for token in [&old, &new] {
        assert_eq!(call(&menshen, token).status, 200);
        assert!(verifies(token, &jwks(&menshen)));
    }
    menshen.wait_for_log("key.added");

    // Stopped, the store is asked instead: the same answer, and a key that the next start signs
    // with.
    menshen.stop();
    let dir = menshen.keep_directory();
    let list = keys_command(dir.path(), "list", &[]);
    assert_eq!(
        list,
        format!(
            "algorithm EdDSA\n{}  signs and verifies\n{}  verifies\n",
            kid(&new),
            kid(&old)
        )
    );
    let said = keys_command(dir.path(), "rotate", &[]);
    let second = Setup::before(backend.address)
        .in_directory(dir)
        .with(ADMIN)
        .start();
    let newest = second.token("alice");
    assert_eq!(said, format!("{} signs from now on\n", kid(&newest)));
    assert_eq!(published(&second), [kid(&newest), kid(&new), kid(&old)]);
    for token in [&old, &new, &newest] {
        assert_eq!(call(&second, token).status, 200);
    }
}

/// Opens the store of a menshen that does not run, as it would.
fn with_store(dir: &Path, change: impl AsyncFnOnce(&dyn Store)) {
    let hex = std::fs::read_to_string(dir.join("store.key")).expect("a key");
    let config = StoreConfig {
        encryption_key: Some(SecretText::new(hex)),
        ..StoreConfig::default()
    };
    let keys = WrappingKeys::derive(&config.key().expect("a key").expect("a key"), None);
    let options = OpenOptions {
        cache_bytes: 1 << 20,
        lock_wait: Duration::from_secs(10),
        ..OpenOptions::default()
    };
    let url = format!("sled:{}", dir.join("data").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = store::open(&url, &options, &keys, Entropy::default())
            .await
            .expect("a store")
            .store;
        change(&*store).await;
        store.close().await.expect("closed");
    });
}

#[test]
fn keys_are_replaced_on_schedule_and_the_next_one_is_published_first() {
    const DAY: Duration = Duration::from_hours(24);
    let backend = Backend::start();
    let scheduled = || {
        Setup::before(backend.address)
            .with(ADMIN)
            .with("[tokens]\nrotate_every = \"90d\"")
    };
    let mut menshen = scheduled().start();
    let first = menshen.token("alice");
    assert_eq!(published(&menshen), [kid(&first)]);
    menshen.stop();
    let dir = menshen.keep_directory();
    // A key that has signed for a hundred days, and has replaced the first.
    with_store(dir.path(), async |store| {
        let since = Clock::System.now().minus(DAY * 100);
        let key =
            token::generate(config::Algorithm::EdDsa, &Entropy::default(), since).expect("a key");
        assert!(
            store
                .add_key(&key, Some(&kid(&first)))
                .await
                .expect("works")
        );
    });

    let mut menshen = scheduled().in_directory(dir.clone()).start();
    menshen.wait_for_log("key.added");
    let old = menshen.token("alice");
    let [signs, next] = published(&menshen).try_into().expect("two keys");
    assert_eq!(kid(&old), signs);
    assert!(menshen.metric("menshen_signing_key_age_seconds") >= 100.0 * 86_400.0);
    assert_eq!(call(&menshen, &old).status, 200);
    assert_eq!(
        call(&menshen, &first).status,
        401,
        "of a key that was replaced long ago"
    );
    let admin = menshen.admin.to_string();
    let list = keys_command(
        menshen.directory(),
        "list",
        &[("MENSHEN_ADMIN__LISTEN", admin.as_str())],
    );
    let expected =
        format!("algorithm EdDSA\n{signs}  signs and verifies\n{next}  verifies, signs from 20");
    assert!(list.starts_with(&expected), "{list}");
    menshen.stop();

    // A restart makes no other; and when its time has come it signs.
    let menshen = scheduled().in_directory(dir.clone()).start();
    assert_eq!(published(&menshen), [signs.clone(), next.clone()]);
    assert_eq!(call(&menshen, &old).status, 200);
    drop(menshen);
    with_store(dir.path(), async |store| {
        let keys = store.keys().await.expect("works");
        let day = Clock::System.now().plus(DAY);
        assert!(
            keys[0].kid == next
                && keys[0].signs_from <= day
                && keys[0].signs_from >= day.minus(DAY / 2)
        );
        let due = StoredKey {
            signs_from: Clock::System.now(),
            ..keys[0].clone()
        };
        store.remove_key(&next).await.expect("works");
        assert!(store.add_key(&due, Some(&signs)).await.expect("works"));
    });
    let menshen = scheduled().in_directory(dir).start();
    assert_eq!(published(&menshen), [next.clone(), signs]);
    assert_eq!(
        (kid(&menshen.token("alice")), call(&menshen, &old).status),
        (next, 200)
    );
}

#[test]
fn keys_of_a_running_process_without_an_admin_token_are_out_of_reach() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let admin = menshen.admin.to_string();
    for what in ["list", "rotate"] {
        let output = menshen::command(
            menshen.directory(),
            &["keys", what],
            &[("MENSHEN_ADMIN__LISTEN", &admin)],
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(
            said.contains("admin.token_file") && said.contains("another process"),
            "{what}: {said}"
        );
        assert!(output.stdout.is_empty(), "{what}");
    }
    assert_eq!(published(&menshen).len(), 1);
}

#[test]
fn the_admin_api_is_for_the_bearer_of_its_token_and_absent_without_one() {
    let backend = Backend::start();
    let section = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{ADMIN_TOKEN}\"");
    let with = Setup::before(backend.address).with(&section).start();
    let without = Setup::before(backend.address).start();
    let right = format!("Bearer {ADMIN_TOKEN}");
    let user = format!("Bearer {}", with.token("admin-1"));
    let longer = format!("{right}x");
    let cut = &right[..right.len() - 1];
    let paths = [("GET", "/admin/keys"), ("POST", "/admin/keys/rotate")];
    let others = [
        ("GET", "/admin/users"),
        ("POST", "/admin/users"),
        ("POST", "/admin/users/find"),
        ("GET", "/admin/users/1"),
        ("DELETE", "/admin/users/1"),
        ("POST", "/admin/users/1/ban"),
        ("POST", "/admin/users/1/unban"),
        ("POST", "/admin/users/1/promote"),
        ("POST", "/admin/users/1/password"),
        ("GET", "/admin/users/1/sessions"),
        ("POST", "/admin/sessions/revoke"),
        ("POST", "/admin/store/rotate-key"),
        ("POST", "/admin/store/reseal"),
    ];
    for (method, path) in paths.into_iter().chain(others) {
        for sent in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some(ADMIN_TOKEN),
            Some(cut),
            Some(&longer),
            Some(&user),
        ] {
            let headers: Vec<_> = sent.iter().map(|sent| ("Authorization", *sent)).collect();
            assert_eq!(
                wire::ask(with.admin, method, path, &headers, b"").status,
                401,
                "{method} {path} {sent:?}"
            );
        }
        for headers in [&[][..], &[("Authorization", right.as_str())]] {
            assert_eq!(
                wire::ask(without.admin, method, path, headers, b"").status,
                404,
                "{method} {path}"
            );
        }
        // Neither is it reached through the gate.
        assert_eq!(
            wire::ask(with.http, method, path, &[("Authorization", &right)], b"").status,
            401,
            "{method} {path}"
        );
    }
    assert_eq!(published(&with).len(), 1, "nobody has rotated");
    for (method, path) in paths {
        assert_eq!(
            wire::ask(with.admin, method, path, &[("Authorization", &right)], b"").status,
            200,
            "{method} {path}"
        );
    }
    assert_eq!(published(&with).len(), 2);
    assert!(!format!("{}{}", with.log().join("\n"), with.metrics()).contains(ADMIN_TOKEN));
}

/// Writes a new private key in PEM, as an operator does.
pub(super) fn openssl(dir: &Path, name: &str, options: &str) -> PathBuf {
    let path = dir.join(name);
    let output = Command::new("openssl")
        .arg("genpkey")
        .args(options.split(' '))
        .arg("-out")
        .arg(&path)
        .output();
    let output = output.expect("the openssl command (Debian: apt-get install openssl)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    path
}

pub(super) const ED25519: &str = "-algorithm ed25519";
pub(super) const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";

#[test]
fn key_files_made_by_openssl_sign_and_the_newest_name_is_first() {
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let backend = Backend::start();
    let keys = dir.path().join("keys");
    std::fs::create_dir(&keys).expect("a directory");
    std::fs::write(keys.join("README"), "not a key").expect("a file");
    let mut tokens = Vec::new();
    // Each start finds one more file, and signs with that.
    for (name, options, algorithm) in [
        ("2026-01.pem", ED25519, "EdDSA"),
        ("2026-02.pem", P256, "ES256"),
        ("2026-03.pem", RSA, "RS256"),
    ] {
        openssl(&keys, name, options);
        let section = format!("{ADMIN}\n[tokens]\nkey_dir = \"keys\"\nalgorithm = \"{algorithm}\"");
        let mut menshen = Setup::before(backend.address)
            .in_directory(dir.clone())
            .with(&section)
            .start();
        tokens.push(menshen.token("alice"));
        assert_eq!(part(&tokens[tokens.len() - 1], 0)["alg"], algorithm);
        let expected: Vec<_> = tokens.iter().rev().map(|token| kid(token)).collect();
        assert_eq!(published(&menshen), expected);
        for token in &tokens {
            assert_eq!(call(&menshen, token).status, 200, "{algorithm}");
            assert!(verifies(token, &jwks(&menshen)), "{algorithm}");
        }
        let admin = menshen.admin.to_string();
        let rotated = menshen::command(
            menshen.directory(),
            &["keys", "rotate"],
            &[("MENSHEN_ADMIN__LISTEN", &admin)],
        );
        let said = String::from_utf8_lossy(&rotated.stderr);
        assert_eq!(rotated.status.code(), Some(1), "{said}");
        assert!(said.contains("given by the configuration"), "{said}");
        menshen.stop();
    }
}

#[test]
fn a_key_file_that_is_none_stops_the_start_with_a_message() {
    let dir = tempfile::tempdir().expect("a directory");
    let spare = tempfile::tempdir().expect("a directory");
    let good = std::fs::read_to_string(openssl(spare.path(), "good.pem", ED25519)).expect("a key");
    let public = good.replace("PRIVATE", "PUBLIC");
    let ed448 = std::fs::read_to_string(openssl(spare.path(), "ed448.pem", "-algorithm ed448"))
        .expect("a key");
    let small = "-algorithm RSA -pkeyopt rsa_keygen_bits:1024";
    let small = std::fs::read_to_string(openssl(spare.path(), "small.pem", small)).expect("a key");
    let two = format!("{good}{good}");
    let cases = [
        (
            "none at all",
            "EdDSA",
            [].as_slice(),
            ["keys", "no file *.pem"].as_slice(),
        ),
        (
            "garbage",
            "EdDSA",
            &[("a.pem", "garbage")],
            &["a.pem", "not a PEM file"],
        ),
        (
            "public",
            "EdDSA",
            &[("a.pem", public.as_str())],
            &["a.pem", "not a PEM file"],
        ),
        (
            "two in one",
            "EdDSA",
            &[("a.pem", two.as_str())],
            &["a.pem", "not a PEM file"],
        ),
        (
            "another curve",
            "EdDSA",
            &[("a.pem", &ed448)],
            &["a.pem", "not an Ed25519, P-256 or RSA"],
        ),
        (
            "a small one",
            "RS256",
            &[("a.pem", &small)],
            &["a.pem", "not an Ed25519, P-256 or RSA"],
        ),
        (
            "an old one broken",
            "EdDSA",
            &[("a.pem", "garbage"), ("b.pem", &good)],
            &["a.pem", "not a PEM file"],
        ),
        (
            "another kind",
            "ES256",
            &[("a.pem", &good)],
            &["a.pem", "ES256"],
        ),
        ("a directory", "EdDSA", &[("a.pem", "")], &["a.pem"]),
    ];
    for (name, algorithm, files, expected) in cases {
        let keys = dir.path().join("keys");
        drop(std::fs::remove_dir_all(&keys));
        std::fs::create_dir(&keys).expect("a directory");
        for (file, text) in files {
            if text.is_empty() {
                std::fs::create_dir(keys.join(file)).expect("a directory");
            } else {
                std::fs::write(keys.join(file), text).expect("a file");
            }
        }
        let text = format!(
            "mode = \"development\"\n[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"memory:\"\n\
             [tokens]\nkey_dir = \"keys\"\nalgorithm = \"{algorithm}\"\n"
        );
        std::fs::write(dir.path().join("config.toml"), text).expect("a file");
        let output = menshen::command(dir.path(), &["run"], &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        for words in expected {
            assert!(said.contains(words), "{name}: {words:?} is not in {said}");
        }
        assert!(
            !said.contains("panicked") && !said.contains("BEGIN"),
            "{name}: {said}"
        );
    }
}

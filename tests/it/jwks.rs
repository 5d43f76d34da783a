//! An identity provider with its keys at a URL: rotation, and all the ways in which it can fail.

use std::{
    io::Write,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire,
};

/// One key of a provider.
struct Key {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        Self {
            pair: Ed25519KeyPair::generate().expect("a key"),
            kid,
        }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA" })
    }

    /// A token for user 7.
    fn token(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock")
            .as_secs();
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({ "alg": "EdDSA", "kid": self.kid, "typ": "JWT" }));
        let claims = json!({ "iss": "https://id.example", "aud": ["api"], "sub": "7", "iat": now, "exp": now + 600 });
        let message = format!("{header}.{}", part(claims));
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()))
        )
    }
}

/// The provider; what it answers can change.
struct Provider {
    server: Backend,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Provider {
    fn start(answer: Vec<u8>) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let said = answer.clone();
        let server = Backend::answering(move |_, stream| {
            stream.write_all(&said.lock().expect("a lock")).is_ok()
        });
        Self { server, answer }
    }

    fn says(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("a lock") = answer;
    }

    fn asked(&self) -> usize {
        self.server.received().len()
    }

    fn url(&self) -> String {
        format!("http://{}/keys", self.server.address)
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn keys(keys: &[&Key]) -> Vec<u8> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    ok(json!({ "keys": keys }).to_string().as_bytes())
}

fn issuer(name: &str, iss: &str, url: &str) -> String {
    format!(
        "[[issuer]]\nname = \"{name}\"\nissuer = \"{iss}\"\naudience = \"api\"\nalgorithms = [\"EdDSA\", \"RS256\"]\njwks_url = \"{url}\"\n"
    )
}

fn call(menshen: &Menshen, token: &str) -> (u16, Option<String>) {
    let answer = menshen.get("/orders", &[("Authorization", &format!("Bearer {token}"))]);
    (answer.status, answer.error().map(str::to_owned))
}

fn ready(menshen: &Menshen) -> Value {
    let answer = wire::ask(menshen.admin, "GET", "/readyz", &[], b"");
    assert_eq!(answer.status, 200, "other people's keys decide nothing");
    answer.json()
}

/// Waits until `condition` holds: a provider is asked again after ten seconds at the soonest.
fn wait(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "{what} has not come about");
        std::thread::yield_now();
    }
}

#[test]
fn a_new_key_is_fetched_when_its_first_token_comes_and_old_ones_outlive_every_failure() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let (backend, provider) = (Backend::start(), Provider::start(keys(&[&old])));
    let menshen = Setup::before(backend.address)
        .with(&issuer("idp", "https://id.example", &provider.url()))
        .start();
    assert_eq!(call(&menshen, &old.token()).0, 200);
    assert_eq!(backend.last().folded("x-user-id"), ["7"]);
    assert_eq!(ready(&menshen)["issuers"]["idp"], "ok");
    assert!(menshen.metric("menshen_jwks_age_seconds{issuer=\"idp\"}") < 60.0);

    provider.says(keys(&[&old, &new]));
    assert_eq!(
        call(&menshen, &new.token()),
        (401, Some("token_invalid".to_owned())),
        "refused at once"
    );
    for _ in 0..20 {
        assert_eq!(call(&menshen, &Key::new("made-up").token()).0, 401);
    }
    wait("the new key", || call(&menshen, &new.token()).0 == 200);
    assert_eq!(
        provider.asked(),
        2,
        "one at the start, one for all the unknown ids"
    );

    // Garbage: what there was stays, and is said to be old.
    provider.says(ok(b"<html>maintenance</html>"));
    assert_eq!(call(&menshen, &Key::new("again").token()).0, 401);
    wait("a failure", || ready(&menshen)["issuers"]["idp"] != "ok");
    menshen.wait_for_log("stay as they were");
    for token in [old.token(), new.token()] {
        assert_eq!(call(&menshen, &token).0, 200);
    }
}

#[test]
fn a_key_that_is_taken_back_verifies_nothing_more() {
    let (gone, left) = (Key::new("gone"), Key::new("left"));
    let (backend, provider) = (Backend::start(), Provider::start(keys(&[&gone, &left])));
    let menshen = Setup::before(backend.address)
        .with(&issuer("idp", "https://id.example", &provider.url()))
        .start();
    let token = gone.token();
    assert_eq!(call(&menshen, &token).0, 200);
    provider.says(keys(&[&left]));
    assert_eq!(call(&menshen, &Key::new("unknown").token()).0, 401);
    wait("the end of the key", || call(&menshen, &token).0 == 401);
    assert_eq!(call(&menshen, &left.token()).0, 200);
}

#[test]
fn a_provider_that_publishes_an_empty_set_has_taken_its_keys_back() {
    let key = Key::new("k");
    let (backend, provider) = (Backend::start(), Provider::start(keys(&[&key])));
    let menshen = Setup::before(backend.address)
        .with(&issuer("idp", "https://id.example", &provider.url()))
        .start();
    let token = key.token();
    assert_eq!(call(&menshen, &token).0, 200);

    provider.says(keys(&[]));
    assert_eq!(call(&menshen, &Key::new("unknown").token()).0, 401);
    wait("the end of the keys", || call(&menshen, &token).0 != 200);
    assert_eq!(
        call(&menshen, &token),
        (401, Some("token_invalid".to_owned())),
        "it is known to be good for nothing"
    );
    assert_eq!(
        ready(&menshen)["issuers"]["idp"],
        "no keys: it publishes an empty set"
    );
    menshen.wait_for_log("issuer idp has no keys: is an empty set");
    assert_eq!(call(&menshen, &menshen.token("alice")).0, 200);

    provider.says(keys(&[&key]));
    wait("the keys", || call(&menshen, &token).0 == 200);
    assert_eq!(ready(&menshen)["issuers"]["idp"], "ok");
    menshen.wait_for_log("the keys of issuer idp can be had again");
}

#[test]
fn a_provider_that_fails_hurts_nobody_elses_tokens() {
    let key = Key::new("k");
    let backend = Backend::start();
    // One is not there, one takes the connection and says nothing, one says too much, one sends
    // away, one publishes a secret.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let padding = format!(
        "{{\"keys\":[{}],\"x\":\"{}\"}}",
        key.jwk(),
        "x".repeat(300 * 1024)
    );
    let huge = Provider::start(ok(padding.as_bytes()));
    let good = Provider::start(keys(&[&key]));
    let elsewhere = Provider::start(keys(&[&key]));
    let moved = Provider::start(
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            elsewhere.url()
        )
        .into(),
    );
    let secret = Provider::start(ok(
        br#"{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}]}"#,
    ));
    let menshen = Setup::before(backend.address)
        .with(&issuer(
            "nobody",
            "https://nobody.example",
            &format!("http://{nobody}/"),
        ))
        .with(&issuer(
            "silent",
            "https://silent.example",
            &format!("http://{}/", silent.local_addr().expect("an address")),
        ))
        .with(&issuer("huge", "https://huge.example", &huge.url()))
        .with(&issuer("moved", "https://moved.example", &moved.url()))
        .with(&issuer("secret", "https://secret.example", &secret.url()))
        .with(&issuer("good", "https://id.example", &good.url()))
        .start();
    assert_eq!(call(&menshen, &key.token()).0, 200);
    assert_eq!(call(&menshen, &menshen.token("alice")).0, 200);
    wait("every attempt", || {
        huge.asked() > 0 && moved.asked() > 0 && secret.asked() > 0
    });
    for line in [
        "no connection",
        "answer too large",
        "answered 302",
        "has no key that can be used",
    ] {
        menshen.wait_for_log(line);
    }
    let health = ready(&menshen)["issuers"].clone();
    for name in ["nobody", "silent", "huge", "moved", "secret"] {
        assert_eq!(health[name], "no keys", "{health}");
    }
    assert_eq!(health["good"], "ok");
    assert_eq!(elsewhere.asked(), 0, "no redirect is followed");
    // Without keys nobody knows whether a token is good: that is no reason to sign anybody out.
    let claims =
        json!({ "iss": "https://huge.example", "aud": "api", "sub": "7", "iat": 1, "exp": 9 });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let expired = format!("{}.{}.AAAA", part(json!({ "alg": "EdDSA" })), part(claims));
    assert_eq!(
        call(&menshen, &expired),
        (401, Some("token_expired".to_owned()))
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let claims = json!({ "iss": "https://huge.example", "aud": "api", "sub": "7", "iat": now, "exp": now + 60 });
    let unknown = format!("{}.{}.AAAA", part(json!({ "alg": "EdDSA" })), part(claims));
    assert_eq!(
        call(&menshen, &unknown),
        (503, Some("issuer_unavailable".to_owned()))
    );
}

#[test]
fn a_key_file_is_read_again_when_another_takes_its_place() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let backend = Backend::start();
    let setup = Setup::before(backend.address).with(
        "[[issuer]]\nname = \"idp\"\nissuer = \"https://id.example\"\naudience = \"api\"\nalgorithms = [\"EdDSA\"]\njwks_file = \"now/keys.json\"\n\
         # The whole config is left alone: this is about the keys.\n[reload]\ninterval = \"0s\"",
    );
    let dir = setup.directory();
    // As Kubernetes does it: a link to a directory, which is replaced whole.
    let place = |name: &str, key: &Key| {
        let at = dir.path().join(name);
        std::fs::create_dir(&at).expect("a directory");
        std::fs::write(
            at.join("keys.json"),
            json!({ "keys": [key.jwk()] }).to_string(),
        )
        .expect("a file");
        std::os::unix::fs::symlink(&at, dir.path().join("next")).expect("a link");
        std::fs::rename(dir.path().join("next"), dir.path().join("now")).expect("another link");
    };
    place("first", &old);
    let menshen = setup.start();
    assert_eq!(
        (
            call(&menshen, &old.token()).0,
            call(&menshen, &new.token()).0
        ),
        (200, 401)
    );
    place("second", &new);
    wait("the new file", || call(&menshen, &new.token()).0 == 200);
    assert_eq!(call(&menshen, &old.token()).0, 401);
    std::fs::remove_file(dir.path().join("now")).expect("a link that can go");
    menshen.wait_for_log("cannot be read");
    assert_eq!(
        call(&menshen, &new.token()).0,
        200,
        "what cannot be read changes nothing"
    );
}

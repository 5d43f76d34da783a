//! Tokens that are not ours: signed with another key or algorithm, or with other claims, they are
//! refused, whatever they claim.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

use super::{
    backend::Backend,
    keys::{ED25519, P256, call, jwks, kid, openssl, part},
    menshen::{Menshen, Setup},
};

/// A token with these claims, signed by this key under this key id.
fn sign(key: &Path, algorithm: Algorithm, kid: &str, claims: &Value) -> String {
    let pem = std::fs::read(key).expect("a key");
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem),
        _ => EncodingKey::from_ec_pem(&pem),
    };
    sign_with(&key.expect("a key"), algorithm, kid, claims)
}

fn sign_with(key: &EncodingKey, algorithm: Algorithm, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, claims, key).expect("a token")
}

const INVALID: &str = "token_invalid";
const EXPIRED: &str = "token_expired";

/// What is wrong with a token, the token, and the code with which it is refused.
type Forged = (&'static str, String, &'static str);

/// A good token, with the key that has signed it.
struct Original {
    key: PathBuf,
    token: String,
    kid: String,
    claims: Value,
}

impl Original {
    fn of(key: PathBuf, token: String) -> Self {
        let (kid, claims) = (kid(&token), part(&token, 1));
        Self {
            key,
            token,
            kid,
            claims,
        }
    }

    /// These claims, signed as the good ones are.
    fn signed(&self, claims: &Value) -> String {
        sign(&self.key, Algorithm::EdDSA, &self.kid, claims)
    }

    fn with(&self, name: &str, value: Value) -> String {
        let mut changed = self.claims.clone();
        changed[name] = value;
        self.signed(&changed)
    }

    fn without(&self, name: &str) -> String {
        let mut changed = self.claims.clone();
        changed.as_object_mut().expect("an object").remove(name);
        self.signed(&changed)
    }

    /// The same claims under other keys and algorithms. `public_key` is what is published of ours;
    /// new keys are made in `dir`.
    fn under_other_keys(&self, dir: &Path, public_key: &str) -> Vec<Forged> {
        let theirs = openssl(dir, "theirs.pem", ED25519);
        let other_kind = openssl(dir, "other-kind.pem", P256);
        let (kid, claims) = (self.kid.as_str(), &self.claims);
        let public_bytes = URL_SAFE_NO_PAD.decode(public_key).expect("base64url");
        let (head, rest) = self.token.split_once('.').expect("a token");
        let (body, signature) = rest.split_once('.').expect("a token");
        let unsigned = URL_SAFE_NO_PAD
            .encode(json!({ "alg": "none", "typ": "at+jwt", "kid": kid }).to_string());
        vec![
            (
                "the key of another, under our key id",
                sign(&theirs, Algorithm::EdDSA, kid, claims),
                INVALID,
            ),
            (
                "the key of another, under its own",
                sign(&theirs, Algorithm::EdDSA, "theirs", claims),
                INVALID,
            ),
            (
                "another algorithm under our key id",
                sign(&other_kind, Algorithm::ES256, kid, claims),
                INVALID,
            ),
            (
                "our public key as a shared secret",
                sign_with(
                    &EncodingKey::from_secret(&public_bytes),
                    Algorithm::HS256,
                    kid,
                    claims,
                ),
                INVALID,
            ),
            (
                "our public key's text as a shared secret",
                sign_with(
                    &EncodingKey::from_secret(public_key.as_bytes()),
                    Algorithm::HS256,
                    kid,
                    claims,
                ),
                INVALID,
            ),
            ("no algorithm", format!("{unsigned}.{body}."), INVALID),
            (
                "no algorithm, and our signature",
                format!("{unsigned}.{body}.{signature}"),
                INVALID,
            ),
            ("no signature", format!("{head}.{body}."), INVALID),
        ]
    }

    /// Other claims, signed with our key.
    fn with_other_claims(&self) -> Vec<Forged> {
        let now = self.claims["iat"].as_u64().expect("a time");
        vec![
            (
                "another issuer",
                self.with("iss", json!("another")),
                INVALID,
            ),
            ("no issuer", self.without("iss"), INVALID),
            (
                "another audience",
                self.with("aud", json!("another")),
                INVALID,
            ),
            (
                "our audience among others",
                self.with("aud", json!(["backend", "another"])),
                INVALID,
            ),
            ("no audience", self.without("aud"), INVALID),
            (
                "another use",
                self.with("token_use", json!("refresh")),
                INVALID,
            ),
            ("no user", self.with("sub", json!("")), INVALID),
            (
                "a user that is a number",
                self.with("sub", json!(1)),
                INVALID,
            ),
            ("no end", self.without("exp"), INVALID),
            ("not yet", self.with("nbf", json!(now + 3600)), INVALID),
            ("over", self.with("exp", json!(now - 1)), EXPIRED),
            ("over by now", self.with("exp", json!(now)), EXPIRED),
        ]
    }
}

/// The one key that a menshen publishes, as it stands there.
fn public_key(menshen: &Menshen) -> String {
    let key: Jwk = serde_json::from_value(jwks(menshen)["keys"][0].clone()).expect("a key");
    serde_json::to_value(&key).expect("JSON")["x"]
        .as_str()
        .expect("a key")
        .to_owned()
}

#[test]
fn tokens_that_are_not_ours_are_refused_whatever_they_claim() {
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    let backend = Backend::start();
    let keys = dir.path().join("keys");
    std::fs::create_dir(&keys).expect("a directory");
    let ours = openssl(&keys, "ours.pem", ED25519);
    let section = "[tokens]\nkey_dir = \"keys\"\nleeway = \"0s\"";
    let menshen = Setup::before(backend.address)
        .in_directory(dir.clone())
        .with(section)
        .start();
    let original = Original::of(ours, menshen.token("alice"));
    let real = original.token.as_str();

    assert_eq!(part(real, 0)["typ"], "at+jwt");
    assert_eq!(call(&menshen, real).status, 200);
    assert_eq!(
        call(&menshen, &original.signed(&original.claims)).status,
        200,
        "what is changed below is what is refused"
    );
    let cases = [
        original.under_other_keys(dir.path(), &public_key(&menshen)),
        original.with_other_claims(),
    ]
    .concat();
    assert_eq!(cases.len(), 20);
    for (name, token, code) in &cases {
        let answer = call(&menshen, token);
        assert_eq!(
            (answer.status, answer.error()),
            (401, Some(*code)),
            "{name}"
        );
    }
    assert_eq!(
        backend.received().len(),
        2,
        "none of {} reached the backend",
        cases.len()
    );
    assert_eq!(call(&menshen, real).status, 200);

    // Two that share a key do not share their tokens, unless they say that they are one.
    for other in ["issuer = \"another\"", "audience = \"another\""] {
        let section = format!("{section}\n{other}");
        let beside = Setup::before(backend.address)
            .in_directory(dir.clone())
            .with("[store]\nurl = \"memory:\"")
            .with(&section)
            .start();
        let token = beside.token("alice");
        assert_eq!(
            (call(&beside, &token).status, call(&menshen, &token).status),
            (200, 401),
            "{other}"
        );
        assert_eq!(call(&beside, real).error(), Some(INVALID), "{other}");
    }
}

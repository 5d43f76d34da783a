//! What the targets share: rules and what they mean in plain code, a key that everybody knows, and
//! a gate with both.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use menshen::{
    auth::{Authorizer, Denylist},
    config::{Access, Config, IdentityConfig, TokenConfig},
    gate::Gate,
    metrics::Metrics,
    policy::{IdentityHeaders, LocalRoutes},
    store::StoredKey,
    token::{Keyrings, Lifetimes, Verifier},
    types::{Secret, Timestamp},
};
use serde_json::{Value, json};

/// The time in every target.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The secret of HS256, so that any token can be signed here.
const SECRET: &[u8] = b"a secret of fuzz targets, which guards nothing";

/// A config with a closed corner in an open area, an open page, an area by token, where a cookie or
/// the query of a WebSocket may bring it, and an open area, with a closed corner too, whose paths
/// may have delimiters encoded.
pub fn config() -> Config {
    let config = json!({
        "rule": [
            { "name": "closed", "path": "/public/closed/**", "access": "deny" },
            { "name": "open", "path": "/public/**", "access": "public" },
            { "name": "page", "path": "/page", "methods": ["GET"], "access": "public" },
            { "name": "members", "path": "/api/**", "access": "required", "token_cookie": "at", "token_in_query": true },
            { "name": "closed-files", "path": "/files/closed/**", "access": "deny" },
            { "name": "files", "path": "/files/**", "access": "public", "allow_encoded": ["%2F", "%25"] },
        ],
    });
    serde_json::from_value(config).expect("a config")
}

/// The rule that decides on a path, without anything that menshen has for it.
pub fn rule(path: &[u8], method: &str) -> &'static str {
    let under = |prefix: &[u8]| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let areas: [(&[u8], &str); 5] = [
        (b"/public/closed", "closed"),
        (b"/public", "open"),
        (b"/api", "members"),
        (b"/files/closed", "closed-files"),
        (b"/files", "files"),
    ];
    if path == b"/page" && method == "GET" {
        return "page";
    }
    areas
        .into_iter()
        .find(|(prefix, _)| under(prefix))
        .map_or("default", |(_, name)| name)
}

/// What that rule asks for.
pub fn expected(path: &[u8], method: &str) -> Access {
    match rule(path, method) {
        "closed" | "closed-files" => Access::Deny,
        "open" | "page" | "files" => Access::Public,
        _ => Access::Required,
    }
}

/// Keys for HS256.
pub static KEYRINGS: LazyLock<Arc<Keyrings>> = LazyLock::new(|| {
    let key = StoredKey {
        kid: String::new(),
        algorithm: "HS256".to_owned(),
        private: Secret::new(SECRET.to_vec()),
        created_at: NOW,
        signs_from: NOW,
    };
    Arc::new(Keyrings::fixed(&[key]).expect("a keyring"))
});

/// Verifies tokens of that key.
pub fn verifier() -> Verifier {
    let config = TokenConfig::default();
    Verifier::new(
        Arc::clone(&KEYRINGS),
        &config,
        Lifetimes::from_config(&config),
    )
}

/// A header that fits the key.
pub fn header() -> Value {
    json!({ "alg": "HS256", "kid": KEYRINGS.current().signing_kid(), "typ": "at+jwt" })
}

/// Claims that fit.
pub fn claims() -> Value {
    let issued = NOW.as_secs();
    json!({
        "iss": "menshen", "aud": "backend", "sub": "42", "sid": "00000000000000000000000000000abc", "iat": issued,
        "exp": issued + 900, "jti": "a", "user_type": "user", "roles": [], "client_type": "web", "ep": 0, "gep": 0,
        "token_use": "access",
    })
}

/// A token of exactly these bytes, signed as it should be.
pub fn signed(header: &[u8], payload: &[u8]) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// A good token; always the same.
pub static TOKEN: LazyLock<String> = LazyLock::new(|| {
    signed(
        header().to_string().as_bytes(),
        claims().to_string().as_bytes(),
    )
});

/// A gate with the rules and the key.
pub static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let config = config();
    let headers =
        IdentityHeaders::compile(&IdentityConfig::default()).expect("the default headers");
    let metrics = Metrics::new();
    let authorizer = Authorizer::new(
        verifier(),
        Arc::default(),
        Arc::new(Denylist::new()),
        headers,
        100,
        &metrics,
    );
    let gate = Gate::compile(
        &config,
        LocalRoutes::default(),
        Arc::new(authorizer),
        metrics,
    )
    .expect("rules that compile");
    assert!(
        verifier().verify(&TOKEN, NOW).is_ok()
            && verifier()
                .verify(&TOKEN, NOW.plus(Duration::from_hours(1)))
                .is_err()
    );
    gate
});

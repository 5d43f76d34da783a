//! Tokens of others: those that real libraries signed before menshen came, and those of an identity
//! provider with its keys at a URL.

use std::{
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::AsDer,
    rsa::KeySize,
    signature::{KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{self, Menshen, Setup},
    wire::Answer,
};

/// The secret of the backend from before.
const SECRET: &str = "the-secret-that-the-backend-signed-with-before-0123";
const OTHER: &str = "another-secret-of-somebody-else-entirely-0456789012";

fn call(menshen: &Menshen, token: &str) -> Answer {
    menshen.get("/orders", &[("Authorization", &format!("Bearer {token}"))])
}

fn verdict(menshen: &Menshen, token: &str) -> (u16, Option<String>) {
    let answer = call(menshen, token);
    (answer.status, answer.error().map(str::to_owned))
}

fn refused(code: &str) -> (u16, Option<String>) {
    (401, Some(code.to_owned()))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs()
}

/// Runs a script that signs, with these variables, and gives what it prints.
fn script(program: &str, arguments: &[&str], variables: &[(&str, &str)], missing: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        root.join(missing).exists(),
        "{missing} is missing: `./run test` installs it"
    );
    let out = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .envs(variables.iter().copied())
        .output()
        .expect(program);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

fn nest(key: (&str, &str), payload: &Value, options: &Value) -> String {
    let arguments = [
        "tests/backends/nest/sign.js",
        &payload.to_string(),
        &options.to_string(),
    ];
    script(
        "node",
        &arguments,
        &[key],
        "tests/backends/nest/node_modules/.installed",
    )
}

/// An access token and a refresh token of user 42.
fn simplejwt(key: (&str, &str)) -> (String, String) {
    let python = "target/backends/simplejwt/bin/python";
    let program = format!("{}/{python}", env!("CARGO_MANIFEST_DIR"));
    let said = script(
        &program,
        &["-B", "tests/backends/simplejwt/sign.py"],
        &[key, ("USER_ID", "42")],
        python,
    );
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let text = |name: &str| said[name].as_str().expect("a token").to_owned();
    (text("access"), text("refresh"))
}

/// A private key and its public key, both in PEM.
fn rsa() -> (String, String) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let pem = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
    let private = pem("PRIVATE KEY", pair.as_der().expect("DER").as_ref());
    (
        private,
        pem(
            "PUBLIC KEY",
            pair.public_key().as_der().expect("DER").as_ref(),
        ),
    )
}

/// Tokens of `@nestjs/jwt` with what is wrong with each.
fn tokens_refused_as_invalid() -> [(&'static str, String); 6] {
    let options = json!({ "expiresIn": "7d" });
    let stranger = nest(("JWT_SECRET", OTHER), &json!({ "sub": "42" }), &options);
    let endless = nest(("JWT_SECRET", SECRET), &json!({ "sub": "42" }), &json!({}));
    let long = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "42" }),
        &json!({ "expiresIn": "30d" }),
    );
    let for_others = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "42" }),
        &json!({ "expiresIn": "1h", "audience": "x" }),
    );
    let of_another = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "42" }),
        &json!({ "expiresIn": "1h", "issuer": "x" }),
    );
    let ours = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "42", "token_use": "access" }),
        &json!({ "expiresIn": "1h", "issuer": "menshen", "audience": "backend", "header": { "typ": "at+jwt" } }),
    );
    [
        ("stranger", stranger),
        ("endless", endless),
        ("long", long),
        ("for others", for_others),
        ("of another", of_another),
        ("as ours", ours),
    ]
}

#[test]
fn tokens_that_nestjs_jwt_signed_with_a_secret_pass_as_their_users() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&format!(
            "[[issuer]]\nname = \"legacy\"\nissuer = \"\"\nalgorithms = [\"HS256\"]\nsecret = \"{SECRET}\"\n\
             claims = {{ user_type = \"role\" }}\naccept_until = \"2099-12-31\"\n\
             [[rule]]\nname = \"back-office\"\npath = \"/admin/**\"\nuser_types = [\"admin\"]"
        ))
        .start();
    let options = json!({ "expiresIn": "7d" });
    let token = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "42", "openid": "o-1" }),
        &options,
    );
    assert_eq!(call(&menshen, &token).status, 200);
    let seen = backend.last();
    let one = |name: &str| seen.folded(name);
    assert_eq!(
        (one("x-user-id"), one("x-user-type")),
        (vec!["42".to_owned()], vec!["user".to_owned()])
    );
    assert_eq!(
        (one("x-session-id").len(), one("x-client-type").len()),
        (0, 0),
        "it has no session of ours"
    );
    assert_eq!(one("x-auth-state"), ["authenticated"]);
    assert!(one("authorization").is_empty());
    // Again, from memory; and its other side: our own tokens pass as before.
    assert_eq!(call(&menshen, &token).status, 200);
    assert_eq!(call(&menshen, &menshen.token("alice")).status, 200);

    let admin = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "1", "role": "admin" }),
        &options,
    );
    for (token, status) in [(&admin, 200), (&token, 403)] {
        let answer = menshen.get("/admin/x", &[("Authorization", &format!("Bearer {token}"))]);
        assert_eq!(answer.status, status);
    }
    for (name, token) in tokens_refused_as_invalid() {
        assert_eq!(
            verdict(&menshen, &token),
            refused("token_invalid"),
            "{name}"
        );
    }
    let expired = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "42", "iat": now() - 9000 }),
        &json!({ "expiresIn": "1h" }),
    );
    assert_eq!(verdict(&menshen, &expired), refused("token_expired"));

    // What needs a session of ours takes no token of another.
    for path in ["/auth/me", "/auth/sessions"] {
        let answer = menshen.get(path, &[("Authorization", &format!("Bearer {token}"))]);
        assert_eq!(
            (answer.status, answer.error()),
            (401, Some("token_invalid")),
            "{path}"
        );
    }
    let logout = menshen.post(
        "/auth/logout",
        &[("Authorization", &format!("Bearer {token}"))],
        &json!({}),
    );
    assert_eq!(
        (logout.status, logout.error()),
        (401, Some("token_invalid"))
    );
    let counted = |result: &str| {
        format!("menshen_issuer_token_checks_total{{issuer=\"legacy\",result=\"{result}\"}}")
    };
    // Two of /orders, two of /admin, three of the auth API.
    assert_eq!(
        (
            menshen.metric(&counted("passed")),
            menshen.metric(&counted("expired"))
        ),
        (7.0, 1.0)
    );
    let written = menshen.log().join("\n");
    assert!(!written.contains(&token) && !written.contains(SECRET));
}

#[test]
fn tokens_that_simplejwt_signed_pass_and_its_refresh_tokens_do_not() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&format!(
            "[[issuer]]\nname = \"django\"\nissuer = \"\"\nalgorithms = [\"HS256\"]\nsecret = \"{SECRET}\"\n\
             user_id_claim = \"user_id\"\nrequired_claims = {{ token_type = \"access\" }}"
        ))
        .start();
    let (access, refresh) = simplejwt(("JWT_SECRET", SECRET));
    assert_eq!(call(&menshen, &access).status, 200);
    assert_eq!(backend.last().folded("x-user-id"), ["42"]);
    assert_eq!(verdict(&menshen, &refresh), refused("token_invalid"));
    let (stranger, _) = simplejwt(("JWT_SECRET", OTHER));
    assert_eq!(verdict(&menshen, &stranger), refused("token_invalid"));
}

#[test]
fn tokens_under_a_public_key_are_their_own_issuers_alone() {
    let backend = Backend::start();
    let ((nest_private, nest_public), (django_private, django_public)) = (rsa(), rsa());
    let setup = Setup::before(backend.address).with(
        "[[issuer]]\nname = \"shop\"\nissuer = \"nest-app\"\naudience = \"shop-api\"\nalgorithms = [\"RS256\"]\n\
         public_key_file = \"shop.pem\"\nuser_id_prefix = \"shop-\"\n\
         [[issuer]]\nname = \"django\"\nissuer = \"\"\nalgorithms = [\"RS256\"]\npublic_key_file = \"django.pem\"\n\
         user_id_claim = \"user_id\"\nrequired_claims = { token_type = \"access\" }",
    );
    std::fs::write(setup.directory().path().join("shop.pem"), &nest_public).expect("a key file");
    std::fs::write(setup.directory().path().join("django.pem"), django_public).expect("a key file");
    let menshen = setup.start();
    let options = json!({ "expiresIn": "1h", "issuer": "nest-app", "audience": "shop-api" });
    let shop = nest(
        ("JWT_PRIVATE_KEY", &nest_private),
        &json!({ "sub": "7" }),
        &options,
    );
    assert_eq!(
        (
            call(&menshen, &shop).status,
            backend.last().folded("x-user-id")
        ),
        (200, vec!["shop-7".to_owned()])
    );
    let (access, refresh) = simplejwt(("JWT_PRIVATE_KEY", &django_private));
    assert_eq!(
        (
            call(&menshen, &access).status,
            backend.last().folded("x-user-id")
        ),
        (200, vec!["42".to_owned()])
    );

    let crossed = nest(
        ("JWT_PRIVATE_KEY", &django_private),
        &json!({ "sub": "7" }),
        &options,
    );
    let nameless = nest(
        ("JWT_PRIVATE_KEY", &nest_private),
        &json!({ "user_id": 7, "token_type": "access" }),
        &json!({ "expiresIn": "1h" }),
    );
    // The public key as the secret of HS256: the oldest trick.
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("JWT".to_owned());
    let claims = json!({ "sub": "7", "iss": "nest-app", "aud": "shop-api", "iat": now(), "exp": now() + 600 });
    let confused = jsonwebtoken::encode(
        &header,
        &claims,
        &EncodingKey::from_secret(nest_public.as_bytes()),
    )
    .expect("a token");
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    for (name, token) in [
        ("crossed", &crossed),
        ("nameless", &nameless),
        ("refresh", &refresh),
        ("confused", &confused),
        ("unsigned", &unsigned),
    ] {
        assert_eq!(verdict(&menshen, token), refused("token_invalid"), "{name}");
    }
}

#[test]
fn a_user_who_is_banned_has_no_good_token_of_anybody() {
    let backend = Backend::start();
    let admin_token = "a-token-of-an-operator-0123456789abcdef";
    let setup = Setup::before(backend.address)
        .with("[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"")
        .with("[users]\nids = \"integer\"\nfirst_integer = 42")
        .with(&format!(
            "[[issuer]]\nname = \"legacy\"\nissuer = \"\"\nalgorithms = [\"HS256\"]\nsecret = \"{SECRET}\"\nuser_id_claim = \"id\""
        ));
    std::fs::write(setup.directory().path().join("admin.token"), admin_token).expect("a file");
    let menshen = setup.start();
    let token = |id: u64| {
        let claims = json!({ "id": id, "iat": now(), "exp": now() + 600 });
        jsonwebtoken::encode(
            &Header::default(),
            &claims,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        )
        .expect("a token")
    };
    let own = menshen.login("alice");
    assert_eq!(own["user"]["id"], "42");
    let (hers, somebodys) = (token(42), token(43));
    assert_eq!(
        (
            call(&menshen, &hers).status,
            call(&menshen, &somebodys).status
        ),
        (200, 200)
    );
    let ban = super::wire::post(
        menshen.admin,
        "/admin/users/42/ban",
        &[("Authorization", &format!("Bearer {admin_token}"))],
        &json!({}),
    );
    assert_eq!(ban.status, 200, "{}", String::from_utf8_lossy(&ban.body));
    assert_eq!(verdict(&menshen, &hers), refused("token_revoked"));
    assert_eq!(
        verdict(&menshen, own["access_token"].as_str().expect("a token")),
        refused("token_revoked")
    );
    assert_eq!(call(&menshen, &somebodys).status, 200);
}

#[test]
fn a_config_under_which_issuers_could_be_confused_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let pem = rsa().1;
    std::fs::write(dir.path().join("key.pem"), pem).expect("a file");
    std::fs::write(dir.path().join("bad.pem"), "no key").expect("a file");
    let issuer = |lines: &str| {
        format!("[[issuer]]\nname = \"legacy\"\nissuer = \"\"\nalgorithms = [\"HS256\"]\n{lines}\n")
    };
    let secret = format!("secret = \"{SECRET}\"");
    let cases = [
        (issuer(""), "issuer[0].name: has no key"),
        (issuer("secret = \"short\""), "is shorter than 32 bytes"),
        (
            issuer("secret = \"short\"\nallow_weak_secret = true"),
            "issuer[0].allow_weak_secret: needs `accept_until`",
        ),
        (
            issuer(&format!("{secret}\npublic_key_file = \"key.pem\"")),
            "is given with other keys",
        ),
        (
            issuer("public_key_file = \"key.pem\""),
            "has HS256, and `public_key_file` has public keys",
        ),
        (
            issuer("public_key_file = \"key.pem\"").replace("HS256", "ES256"),
            "lacks RS256",
        ),
        (
            issuer("public_key_file = \"bad.pem\"").replace("HS256", "RS256"),
            "bad.pem is not a PEM file",
        ),
        (
            issuer("public_key_file = \"none.pem\"").replace("HS256", "RS256"),
            "cannot be read",
        ),
        (
            issuer("jwks_url = \"http://id.example.com/keys\"").replace("HS256", "RS256"),
            "must be https",
        ),
        (
            issuer(&secret).replace("issuer = \"\"", "issuer = \"menshen\""),
            "is menshen's own `tokens.issuer`",
        ),
        (
            issuer(&secret).replace("issuer = \"\"\n", ""),
            "issuer[0].issuer: is missing",
        ),
        (
            issuer(&secret) + &issuer(&secret).replace("legacy", "second"),
            "is the secret of issuer \"legacy\" too",
        ),
        (
            issuer(&secret) + "[tokens]\nalgorithm = \"HS256\"\n" + &secret,
            "is the secret of menshen's own tokens too",
        ),
        (
            issuer(&format!("{secret}\naccept_until = \"2027-02-30\"")),
            "is not a date",
        ),
        (
            issuer(&format!("{secret}\nclaims = {{ admin = \"x\" }}")),
            "issuer[0].claims.admin: is none of",
        ),
        (
            issuer(&format!("{secret}\nallow_no_exp = true")),
            "issuer[0].allow_no_exp: needs `accept_until`",
        ),
    ];
    for (sections, says) in cases {
        std::fs::write(
            dir.path().join("config.toml"),
            format!("mode = \"development\"\n{sections}"),
        )
        .expect("a file");
        let done = menshen::command(dir.path(), &["check"], &[]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(64), "{sections}");
        assert!(said.contains(says), "{sections}\nsays {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    // Weak but with an end, and past its end: both are warned about, and both may be.
    let weak =
        issuer("secret = \"short\"\nallow_weak_secret = true\naccept_until = \"2020-01-01\"");
    std::fs::write(
        dir.path().join("config.toml"),
        format!("mode = \"development\"\n{weak}"),
    )
    .expect("a file");
    let done = menshen::command(dir.path(), &["check"], &[]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    for warning in [
        "accept_until: is over",
        "secret: is shorter than 32 bytes",
        "required_claims: is empty",
    ] {
        assert!(said.contains(warning), "{warning}: {said}");
    }
}

#[test]
fn after_the_last_day_of_an_issuer_its_tokens_are_refused() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&format!(
            "[[issuer]]\nname = \"legacy\"\nissuer = \"\"\nalgorithms = [\"HS256\"]\nsecret = \"{SECRET}\"\naccept_until = \"2020-01-01\""
        ))
        .start();
    let token = nest(
        ("JWT_SECRET", SECRET),
        &json!({ "sub": "42" }),
        &json!({ "expiresIn": "7d" }),
    );
    assert_eq!(verdict(&menshen, &token), refused("token_expired"));
    menshen.wait_for_metric("menshen_token_checks_total{result=\"issuer_ended\"}", 1.0);
    menshen.wait_for_metric(
        "menshen_issuer_token_checks_total{issuer=\"legacy\",result=\"ended\"}",
        1.0,
    );
}

#[test]
fn the_backend_is_told_of_the_person_where_the_config_has_a_header_for_it() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(
            "[identity]\nheaders = { X-User-Id = \"sub\", X-User-Openid = \"openid\", X-User-Unionid = \"unionid\", X-User-Phone = \"phone\", \
             X-User-Nickname = \"nickname\", X-User-Roles = \"roles\" }\n\
             [sms]\nproviders = [\"log\"]\n[[sms.test_phone]]\nphone = \"+8613800000000\"\ncode = \"123456\"\nuntil = \"2099-01-01\"",
        )
        .start();
    let told = |token: &Value| {
        assert_eq!(
            call(&menshen, token["access_token"].as_str().expect("a token")).status,
            200
        );
        let seen = backend.last();
        ["openid", "unionid", "phone", "nickname", "roles"]
            .map(|name| seen.folded(&format!("x-user-{name}")).join("|"))
    };
    let login = menshen
        .post(
            "/auth/wechat/login",
            &[],
            &json!({ "code": "alice", "nickname": "张三" }),
        )
        .json();
    assert_eq!(told(&login), ["alice", "", "", "%E5%BC%A0%E4%B8%89", ""]);

    let phone = json!({ "phone": "13800000000", "purpose": "login" });
    assert_eq!(menshen.post("/auth/sms/send", &[], &phone).status, 200);
    let by_phone = menshen
        .post(
            "/auth/sms/login",
            &[],
            &json!({ "phone": "13800000000", "code": "123456" }),
        )
        .json();
    assert_eq!(told(&by_phone), ["", "", "+8613800000000", "", ""]);

    // A change is told with the next access token.
    let authorization = format!(
        "Bearer {}",
        login["access_token"].as_str().expect("a token")
    );
    let change = json!({ "nickname": "李四" }).to_string();
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(
        super::wire::ask(
            menshen.http,
            "PATCH",
            "/auth/me",
            &headers,
            change.as_bytes()
        )
        .status,
        200
    );
    assert_eq!(told(&login)[3], "%E5%BC%A0%E4%B8%89");
    let refreshed = menshen
        .post(
            "/auth/refresh",
            &[],
            &json!({ "refresh_token": login["refresh_token"] }),
        )
        .json();
    assert_eq!(
        told(&refreshed),
        ["alice", "", "", "%E6%9D%8E%E5%9B%9B", ""]
    );
}

#[test]
fn nothing_of_the_person_is_in_a_token_that_nobody_asked_for() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let login = menshen
        .post(
            "/auth/wechat/login",
            &[],
            &json!({ "code": "alice", "nickname": "张三" }),
        )
        .json();
    let token = login["access_token"].as_str().expect("a token");
    let claims = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).expect("claims"))
        .expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert!(
        claims.get("told").is_none() && !claims.to_string().contains("alice"),
        "{claims}"
    );
}

#[test]
fn a_rule_asks_for_claims_of_our_tokens_and_of_others() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&format!(
            "[[rule]]\nname = \"shop\"\npath = \"/shop/**\"\nclaims = {{ tenant = [\"shop\", \"7\"] }}\n\
             [[dialect]]\nkind = \"nest\"\nclaims = {{ tenant = \"shop\" }}\n\
             [identity]\nheaders = {{ X-User-Id = \"sub\", X-Tenant = \"claim:tenant\" }}\n\
             [[issuer]]\nname = \"legacy\"\nissuer = \"\"\nalgorithms = [\"HS256\"]\nsecret = \"{SECRET}\""
        ))
        .start();
    let theirs = |claims: Value| {
        let mut all = json!({ "sub": "42", "iat": now(), "exp": now() + 600 });
        all.as_object_mut()
            .expect("claims")
            .extend(claims.as_object().expect("claims").clone());
        jsonwebtoken::encode(
            &Header::default(),
            &all,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        )
        .expect("a token")
    };
    let nest = menshen
        .post("/api/v1/auth/wx-login", &[], &json!({ "code": "alice" }))
        .json();
    let nest = nest["data"]["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    for (token, status, tenant) in [
        (nest, 200, "shop"),
        (theirs(json!({ "tenant": 7 })), 200, "7"),
        (theirs(json!({ "tenant": ["x", "shop"] })), 200, "x,shop"),
        (theirs(json!({ "tenant": "other" })), 403, ""),
        (theirs(json!({})), 403, ""),
        (menshen.token("bob"), 403, ""),
    ] {
        let answer = menshen.get(
            "/shop/x",
            &[
                ("Authorization", &format!("Bearer {token}")),
                ("X-Tenant", "forged"),
            ],
        );
        assert_eq!(answer.status, status, "{tenant}");
        if status == 200 {
            assert_eq!(backend.last().folded("x-tenant"), [tenant]);
        }
    }
}

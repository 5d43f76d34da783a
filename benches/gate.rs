//! What does the gate's own decision cost?
//!
//! `decide_*`: the whole of it, from the bytes of a head to the decision (parsing, framing, path,
//! headers, rule, token), on a head as a mini program sends it, with twenty rules before the one
//! that decides. `authorize_warm_token`: a token seen before. `authorize_cold_*`: a token never
//! seen before, the cache in place. `verify_*` and `issue_*`: the two halves alone. `naive_*`: the
//! same token through `jsonwebtoken::decode` with a key made for each call, as a first version
//! would do it.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use menshen::{
    auth::{Authorizer, Denylist},
    config::{
        Access, Algorithm, Config, DialectConfig, DialectKind, IdentityConfig, RuleConfig,
        TokenConfig,
    },
    dialect::Dialects,
    entropy::Entropy,
    gate::{Decision, Gate},
    metrics::Metrics,
    policy::{IdentityHeaders, LocalRoutes},
    store::{Profile, RefreshSalt, Session, StoredKey, UnknownFields, User},
    token::{AccessTokenOptions, Grant, Issuer, Keyrings, Lifetimes, Verifier, generate},
    types::{ClientType, ExtraClaims, SessionId, Timestamp, UserId, UserType},
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("eddsa", Algorithm::EdDsa),
    ("es256", Algorithm::Es256),
    ("rs256", Algorithm::Rs256),
    ("hs256", Algorithm::Hs256),
];

/// One user with one session, and all that issues and checks their tokens.
struct World {
    key: StoredKey,
    keyrings: Arc<Keyrings>,
    issuer: Issuer,
    user: User,
    session: Session,
}

impl World {
    fn new(algorithm: Algorithm) -> Self {
        let key = generate(algorithm, &Entropy::default(), NOW).expect("a key");
        let keyrings = Arc::new(Keyrings::fixed(std::slice::from_ref(&key)).expect("a keyring"));
        let issuer = Issuer::new(
            Arc::clone(&keyrings),
            &TokenConfig::default(),
            Entropy::default(),
        );
        let id = UserId::parse("0192f0c1-7a3e-7e1b-9d7a-0b6f3f8e2d11").expect("a user id");
        let user = User {
            id: id.clone(),
            user_type: UserType::user(),
            roles: Vec::new(),
            epoch: 0,
            disabled: false,
            profile: Profile::default(),
            phone: None,
            username: None,
            claims: ExtraClaims::default(),
            created_at: NOW,
            last_login_at: NOW,
            unknown: UnknownFields::default(),
        };
        let session = Session {
            id: SessionId::from_bits(u128::MAX / 3),
            user: id,
            client_type: ClientType::MiniProgram,
            app_id: None,
            created_at: NOW,
            last_used_at: NOW,
            counter: 0,
            rotated_at: NOW,
            idle_end: NOW.plus(Duration::from_hours(24)),
            absolute_end: NOW.plus(Duration::from_hours(240)),
            salt: RefreshSalt([1; 16]),
        };
        Self {
            key,
            keyrings,
            issuer,
            user,
            session,
        }
    }

    fn token(&self) -> String {
        let grant = Grant {
            user: &self.user,
            session: &self.session,
            global_epoch: 0,
        };
        self.issuer
            .access(&grant, &AccessTokenOptions::default(), NOW)
            .expect("a token")
            .text
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(
            Arc::clone(&self.keyrings),
            &TokenConfig::default(),
            Lifetimes::from_config(&TokenConfig::default()),
        )
    }

    /// With some other sessions revoked, as in life.
    fn authorizer(&self, cache_entries: usize) -> Authorizer {
        use menshen::store::{RevocationEntry, RevocationTarget};
        let denylist = Denylist::new();
        for n in 0..10_000 {
            denylist.apply(&RevocationEntry {
                at: NOW,
                target: RevocationTarget::Session(SessionId::from_bits(n)),
            });
        }
        let headers =
            IdentityHeaders::compile(&IdentityConfig::default()).expect("the default headers");
        Authorizer::new(
            self.verifier(),
            Arc::default(),
            Arc::new(denylist),
            headers,
            cache_entries,
            &Metrics::new(),
        )
    }

    /// A key as it would be made for each call.
    fn decoding_key(&self) -> DecodingKey {
        let published: JwkSet =
            serde_json::from_slice(&self.keyrings.current().jwks()).expect("a JWK set");
        match published.keys.first() {
            Some(jwk) => DecodingKey::from_jwk(jwk).expect("a public key"),
            None => DecodingKey::from_secret(self.key.private.expose()),
        }
    }
}

fn authorize(c: &mut Criterion) {
    let world = World::new(Algorithm::EdDsa);
    let authorizer = world.authorizer(20_000);
    let tokens: Vec<String> = (0..10_000).map(|_| world.token()).collect();
    for token in &tokens {
        authorizer.authorize(token, NOW).expect("a good token");
    }
    c.bench_function("authorize_warm_token", |b| {
        b.iter(|| authorizer.authorize(black_box(&tokens[0]), NOW));
    });
    let mut turn = tokens.iter().cycle();
    c.bench_function("authorize_warm_token_of_10000", |b| {
        b.iter(|| authorizer.authorize(turn.next().expect("a cycle has no end"), NOW));
    });
    c.bench_function("authorize_rubbish", |b| {
        b.iter(|| authorizer.authorize(black_box("e30.e30.e30"), NOW));
    });
    for (name, algorithm) in ALGORITHMS {
        let world = World::new(algorithm);
        let authorizer = world.authorizer(20_000);
        c.bench_function(&format!("authorize_cold_{name}"), |b| {
            b.iter_batched_ref(
                || world.token(),
                |token| authorizer.authorize(token, NOW),
                BatchSize::SmallInput,
            );
        });
    }
}

/// A head as WeChat's client sends it.
fn head(authorization: &str) -> String {
    format!(
        "GET /api/v1/orders/42?page=2&size=20 HTTP/1.1\r\nHost: api.shop.example\r\nConnection: keep-alive\r\n{authorization}\
         charset: utf-8\r\nUser-Agent: Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.49 MiniProgramEnv/android\r\n\
         content-type: application/json\r\nAccept-Encoding: gzip,compress,br,deflate\r\n\
         Referer: https://servicewechat.com/wx0000000000000000/12/page-frame.html\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n"
    )
}

fn decide(c: &mut Criterion) {
    let world = World::new(Algorithm::EdDsa);
    let rule = |n: usize, path: String, access| RuleConfig {
        name: format!("rule-{n}"),
        path,
        methods: Vec::new(),
        access,
        user_types: Vec::new(),
        roles: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        bad_token_is_anonymous: false,
        token_header: None,
        token_cookie: None,
        token_in_query: false,
        idle_timeout: None,
        cors: false,
        allow_encoded: Vec::new(),
        report_only: None,
    };
    let others = (0..20).map(|n| rule(n, format!("/area-{n}/*/things/**"), Access::Public));
    let ours = rule(20, "/api/**".to_owned(), Access::Required);
    let config = Config {
        rule: others.chain([ours]).collect(),
        ..Config::default()
    };
    let compiled = |answered| {
        Gate::compile(
            &config,
            answered,
            Arc::new(world.authorizer(20_000)),
            Metrics::new(),
        )
        .expect("rules that compile")
    };
    let gate = compiled(LocalRoutes::default());
    let peer = Some([192, 0, 2, 7].into());
    let good = head(&format!("Authorization: Bearer {}\r\n", world.token()));
    let (none, forged) = (head(""), head("X-User-Id: 1\r\nX_User_Id: 1\r\n"));
    assert!(matches!(
        gate.decide_http1(good.as_bytes(), peer, NOW),
        Some(Decision::Forward(_))
    ));
    assert!(matches!(
        gate.decide_http1(none.as_bytes(), peer, NOW),
        Some(Decision::Reject(_))
    ));
    for (name, head) in [
        ("decide_warm_token", &good),
        ("decide_no_token", &none),
        ("decide_forged_headers", &forged),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| gate.decide_http1(black_box(head.as_bytes()), peer, NOW));
        });
    }
    // Every built-in dialect, under prefixes that the path is compared with to its end.
    let kinds = [
        DialectKind::Simplejwt,
        DialectKind::Nest,
        DialectKind::SuccessData,
        DialectKind::CodeData,
    ];
    let dialects = kinds.iter().enumerate().map(|(n, kind)| {
        let prefix = if n == 0 {
            "/api/v1".to_owned()
        } else {
            format!("/api/v1/{n}")
        };
        DialectConfig {
            prefix: Some(prefix),
            bare_token: Some(true),
            ..DialectConfig::for_kind(*kind)
        }
    });
    let mut speaking = Config {
        dialect: dialects.collect(),
        ..Config::default()
    };
    speaking.wechat.legacy_decrypt = true;
    let gate = compiled(
        Dialects::compile(&speaking)
            .expect("built-in dialects")
            .local_routes(),
    );
    assert!(matches!(
        gate.decide_http1(good.as_bytes(), peer, NOW),
        Some(Decision::Forward(_))
    ));
    c.bench_function("decide_four_dialects", |b| {
        b.iter(|| gate.decide_http1(black_box(good.as_bytes()), peer, NOW));
    });
}

fn verify(c: &mut Criterion) {
    for (name, algorithm) in ALGORITHMS {
        let world = World::new(algorithm);
        let (verifier, token) = (world.verifier(), world.token());
        c.bench_function(&format!("verify_{name}"), |b| {
            b.iter(|| verifier.verify(black_box(&token), NOW));
        });

        let mut validation = Validation::new(world.decoding_algorithm());
        validation.set_issuer(&["menshen"]);
        validation.set_audience(&["backend"]);
        c.bench_function(&format!("naive_{name}"), |b| {
            b.iter(|| {
                let key = world.decoding_key();
                jsonwebtoken::decode::<serde_json::Value>(black_box(&token), &key, &validation)
                    .expect("a good token")
            });
        });
    }
}

impl World {
    fn decoding_algorithm(&self) -> jsonwebtoken::Algorithm {
        self.key.algorithm.parse().expect("a JOSE name")
    }
}

fn issue(c: &mut Criterion) {
    for (name, algorithm) in ALGORITHMS {
        let world = World::new(algorithm);
        c.bench_function(&format!("issue_{name}"), |b| b.iter(|| world.token()));
    }
}

criterion_group!(gate, decide, authorize, verify, issue);
criterion_main!(gate);

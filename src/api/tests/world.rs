//! The auth API of one menshen, without the gate.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    api::{ApiContext, ApiState, router},
    audit::Audit,
    auth::{Auth, AuthRules, Authorizer, Denylist, Limits, OutboxDispatcher, Passwords},
    clock::Clock,
    config::{Config, HumanDuration, Mode, SecretText, SmsProvider},
    crypto::Key,
    dev::{
        sms::SimulatedSms,
        wechat::{KnownApp, SimulatedWechat},
    },
    dialect::{Dialects, TokenProfile},
    entropy::Entropy,
    metrics::Metrics,
    policy::IdentityHeaders,
    provider::{
        hooks::{CreatedResponseRules, Hooks},
        sms::Sms,
        wechat::{PushReceiver, Wechat},
    },
    store::{self, OpenOptions, ReplicaId, Store, UpkeepLease, WrappingKeys},
    token::{Issuer, Keyrings, RESERVED_CLAIMS, RefreshTokens, SessionHandles, Verifier},
    types::{ClientIp, Timestamp},
};

pub(super) const APP: &str = "wx0123456789abcdef";
/// 2027-01-15, 08:00 UTC; 16:00 in China.
pub(super) const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOME: [u8; 4] = [192, 0, 2, 1];

pub(super) struct World {
    pub(super) wechat: SimulatedWechat,
    pub(super) sms: SimulatedSms,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) auth: Arc<Auth>,
    pub(super) outbox_dispatcher: Arc<OutboxDispatcher>,
    router: Router,
}

/// A request that is being built.
pub(super) struct Ask {
    method: Method,
    path: String,
    from: ClientIp,
    headers: HeaderMap,
    body: Body,
}

pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    /// The body as received.
    pub(super) bytes: Bytes,
}

impl World {
    /// Production, against the simulated WeChat and Aliyun.
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let secret = "an app secret";
        let known = KnownApp {
            app_id: APP.to_owned(),
            secret: secret.to_owned(),
        };
        let wechat = SimulatedWechat::start(vec![known]).await.unwrap();
        let clock = Clock::manual(START);
        let sms = SimulatedSms::start(clock.clone()).await.unwrap();
        let mut config = Config {
            mode: Mode::Production,
            ..Config::default()
        };
        // Every account is configured, so that a test only names its providers.
        config.sms = sms.section(&[SmsProvider::Aliyun]);
        config.sms.timeout = HumanDuration::millis(300);
        config.wechat.base_url = wechat.base_url();
        config.wechat.timeout = HumanDuration::secs(1);
        config.wechat.app_id = Some(APP.to_owned());
        config.wechat.secret = Some(SecretText::new(secret.to_owned()));
        change(&mut config);
        Self::build(&config, wechat, sms, clock).await
    }

    async fn build(
        config: &Config,
        wechat: SimulatedWechat,
        sms: SimulatedSms,
        clock: Clock,
    ) -> Self {
        let (metrics, entropy) = (Metrics::new(), Entropy::default());
        let keys = WrappingKeys::derive(&Key::new([1; 32]), None);
        let opened = store::open("memory:", &OpenOptions::default(), &keys, entropy.clone()).await;
        let store = opened.unwrap().store;
        let denylist = Arc::new(Denylist::default());
        let passwords = Arc::new(Passwords::new(entropy.clone()));
        let dialects = Arc::new(Dialects::compile(config).unwrap());
        let lifetimes = dialects.lifetimes(&config.tokens);
        let keyrings = Arc::new(
            Keyrings::open(&config.tokens, lifetimes, &*store, &entropy, clock.now())
                .await
                .unwrap(),
        );
        let issuer = Arc::new(Issuer::new(
            Arc::clone(&keyrings),
            &config.tokens,
            entropy.clone(),
        ));
        let verifier = Verifier::new(Arc::clone(&keyrings), &config.tokens, lifetimes);
        let identity = IdentityHeaders::compile(&config.identity).unwrap();
        let authorizer = Arc::new(Authorizer::new(
            verifier,
            Arc::default(),
            Arc::clone(&denylist),
            identity,
            100,
            &metrics,
        ));
        let hooks = hooks(config, &metrics, &clock);
        let lease = Arc::new(UpkeepLease::new(ReplicaId(1)));
        lease.renew(&store).await.unwrap();
        let outbox_dispatcher = Arc::new(OutboxDispatcher::new(
            Arc::clone(&store),
            metrics.clone(),
            Audit::new(metrics.clone()),
            clock.clone(),
            lease,
        ));
        outbox_dispatcher.set_target(hooks.clone(), config.hooks.give_up_after.get());
        let auth = Arc::new(Auth {
            store: Arc::clone(&store),
            wechat: Arc::new(
                Wechat::new(
                    &config.wechat,
                    config.mode,
                    metrics.clone(),
                    &clock,
                    &entropy,
                )
                .unwrap(),
            ),
            sms: Sms::new(&config.sms, config.mode, metrics.clone(), &entropy).unwrap(),
            issuer,
            refresh_tokens: Arc::new(RefreshTokens::new(Key::new([2; 32]))),
            session_handles: SessionHandles::new(Key::new([5; 32])),
            denylist,
            hooks,
            outbox_dispatcher: Arc::clone(&outbox_dispatcher),
            hook_key: Key::new([6; 32]),
            code_key: Key::new([3; 32]),
            sms_key: Key::new([4; 32]),
            limits: Arc::new(Limits::new(&config.limits, clock.clone(), metrics.clone())),
            memory: Arc::default(),
            passwords: Arc::clone(&passwords),
            audit: Audit::new(metrics.clone()),
            metrics: metrics.clone(),
            clock: clock.clone(),
            entropy,
            rules: AuthRules::from_config(config),
        });
        let router = router(ApiState {
            pushes: PushReceiver::new(&config.wechat, &clock).map(Arc::new),
            metrics: metrics.clone(),
            auth: Arc::clone(&auth),
            authorizer,
            keyrings,
            prefix: config.auth.prefix.clone(),
            openid_in_answers: config.auth.openid_in_answers,
            token_header: config.gate.token_header.as_deref().map(Arc::from),
            token_profile: Arc::new(TokenProfile::default()),
            local_routes: Arc::new(dialects.local_routes()),
            dialects,
        });
        Self {
            wechat,
            sms,
            store,
            clock,
            metrics,
            auth,
            outbox_dispatcher,
            router,
        }
    }

    pub(super) async fn send(&self, ask: Ask) -> Answered {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .body(ask.body)
            .unwrap();
        *request.headers_mut() = ask.headers;
        request.extensions_mut().insert(ApiContext {
            request_id: "req-1".to_owned(),
            client_ip: ask.from,
        });
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let is_text = head
            .headers
            .get("content-type")
            .is_some_and(|kind| kind == "text/plain; charset=utf-8");
        let body = match bytes.as_ref() {
            [] => Value::Null,
            text if is_text => Value::from(std::str::from_utf8(text).unwrap()),
            json => serde_json::from_slice(json).unwrap(),
        };
        Answered {
            status: head.status,
            headers: head.headers,
            body,
            bytes,
        }
    }

    /// Posts a login code.
    pub(super) async fn login(&self, code: &str) -> Answered {
        self.send(Ask::post("/auth/wechat/login", &json!({ "code": code })))
            .await
    }

    /// Posts a refresh token.
    pub(super) async fn refresh(&self, token: &str) -> Answered {
        self.send(Ask::post(
            "/auth/refresh",
            &json!({ "refresh_token": token }),
        ))
        .await
    }

    /// Requests a login code.
    pub(super) async fn ask_code(&self, phone: &str) -> Answered {
        self.send(Ask::post("/auth/sms/send", &json!({ "phone": phone })))
            .await
    }

    /// Requests a login code, and reads it from the phone (in E.164 form).
    pub(super) async fn sms_code(&self, phone: &str) -> String {
        assert_eq!(self.ask_code(phone).await.says(), (200, ""));
        self.sms.code_on(phone).expect("a message on the phone")
    }

    /// The same for a code that binds the phone.
    pub(super) async fn bind_code(&self, phone: &str) -> String {
        let asked = self
            .send(Ask::post(
                "/auth/sms/send",
                &json!({ "phone": phone, "purpose": "bind" }),
            ))
            .await;
        assert_eq!(asked.says(), (200, ""));
        self.sms.code_on(phone).expect("a message on the phone")
    }

    /// Posts a phone and a code.
    pub(super) async fn sms_login(&self, phone: &str, code: &str) -> Answered {
        self.send(Ask::post(
            "/auth/sms/login",
            &json!({ "phone": phone, "code": code }),
        ))
        .await
    }

    /// Requests a code and logs in with it.
    pub(super) async fn sign_in_by_sms(&self, phone: &str) -> Answered {
        let code = self.sms_code(phone).await;
        let answer = self.sms_login(phone, &code).await;
        assert_eq!(answer.says(), (200, ""));
        answer
    }

    /// Posts a phone and the code that was sent to it, with an access token.
    pub(super) async fn bind(&self, by: &Answered, phone: &str, code: &str) -> Answered {
        self.send(Ask::post("/auth/phone/sms", &json!({ "phone": phone, "code": code })).by(by))
            .await
    }

    /// Requests a code and binds the phone to the caller with it.
    pub(super) async fn bind_by_sms(&self, by: &Answered, phone: &str) -> Answered {
        let code = self.bind_code(phone).await;
        self.bind(by, phone, &code).await
    }

    /// Posts a code of the phone number button, with an access token.
    pub(super) async fn bind_by_button(&self, by: &Answered, code: &str) -> Answered {
        self.send(Ask::post("/auth/phone/wechat", &json!({ "code": code })).by(by))
            .await
    }

    pub(super) async fn me(&self, by: &Answered) -> Answered {
        self.send(Ask::get("/auth/me").by(by)).await
    }

    /// How often the audit log has an event.
    pub(super) fn audited(&self, event: &str) -> u64 {
        self.metrics.audit_events.with_label_values(&[event]).get()
    }

    pub(super) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

fn hooks(config: &Config, metrics: &Metrics, clock: &Clock) -> Option<Arc<Hooks>> {
    let rules = CreatedResponseRules {
        integers_below: config.users.first_generated_id(),
        reserved: &RESERVED_CLAIMS,
    };
    Hooks::new(&config.hooks, rules, metrics.clone(), clock.clone())
        .unwrap()
        .map(Arc::new)
}

impl Ask {
    pub(super) fn new(method: Method, path: &str) -> Self {
        let from = ClientIp::new(HOME.into());
        Self {
            method,
            path: path.to_owned(),
            from,
            headers: HeaderMap::new(),
            body: Body::empty(),
        }
    }

    pub(super) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &str, body: &Value) -> Self {
        Self::new(Method::POST, path).json(body)
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .raw(body.to_string())
    }

    pub(super) fn raw(self, body: impl Into<Body>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    pub(super) fn from(self, last: u8) -> Self {
        Self {
            from: ClientIp::new([192, 0, 2, last].into()),
            ..self
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    /// With the access token of this response.
    pub(super) fn by(self, signed_in: &Answered) -> Self {
        self.token(signed_in.text("access_token"))
    }

    /// With this access token.
    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }
}

impl Answered {
    /// A field that is a text.
    pub(super) fn text(&self, field: &str) -> &str {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field} of {} {}", self.status, self.body))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code, which is empty on success. Checks that a rejection is complete.
    pub(super) fn says(&self) -> (u16, &str) {
        let status = self.status.as_u16();
        if self.status.is_success() {
            assert_eq!(self.header("x-menshen-error"), "");
            return (status, "");
        }
        assert_eq!(self.header("x-request-id"), "req-1");
        assert_eq!(self.header("cache-control"), "no-store");
        let code = self.header("x-menshen-error");
        if !self.body.is_null() {
            assert_eq!(
                self.header(header::CONTENT_TYPE.as_str()),
                "application/problem+json"
            );
            assert_eq!(
                (self.text("code"), self.text("request_id")),
                (code, "req-1")
            );
            assert_eq!(self.body["status"], status);
        }
        assert_eq!(
            self.headers.contains_key("www-authenticate"),
            status == 401 || code == "forbidden",
            "{code}"
        );
        (status, code)
    }

    /// The user of the tokens.
    pub(super) fn user(&self) -> &str {
        self.body["user"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no user in {} {}", self.status, self.body))
    }

    /// `Retry-After`, in seconds.
    pub(super) fn wait(&self) -> u64 {
        self.header("retry-after")
            .parse()
            .unwrap_or_else(|_| panic!("no Retry-After with {}", self.body))
    }

    /// The names of the fields that were not valid.
    pub(super) fn wrong_fields(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect()
    }
}

//! The console through its router: sessions, attacks as classes, what pages say.

mod alarms;
mod attacks;
mod pages;
mod sign_in;

use std::{io, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{Console, ConsoleMemory, ConsoleParts, router};
use crate::{
    admin::{AdminState, Probes, ProcessStage, ReadinessDetails},
    app,
    auth::Denylist,
    clock::Clock,
    config::{Config, Loaded, LogFormat, Source, values_in_force},
    gate,
    metrics::Metrics,
    store::{Access, ImportedUser, Profile},
    telemetry::{AccessLine, AccessLog, Sink},
    token::TrustedIssuers,
    types::{AppId, ClientIp, OpenId, Phone, Secret, Timestamp, UserId, UserType},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HOST: &str = "127.0.0.1:9090";
/// What a page would run if it escaped too little.
const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'";

const CONFIG: &str = "mode = 'development'\nstore.url = 'memory:'\nadmin.token = '0123456789abcdef0123456789abcdef'\n\
    admin.hosts = ['ops.example.com']\nwechat.app_id = 'wx0123456789abcdef'\n\
    [[rule]]\nname = 'office'\npath = '/office/**'\nuser_types = ['admin']\n";

/// A console without its process.
struct Bench {
    routes: Router,
    admin: Arc<AdminState>,
    memory: Arc<ConsoleMemory>,
    metrics: Metrics,
    clock: Clock,
    sink: Sink,
}

/// A response.
struct Shown {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Shown {
    fn header(&self, name: header::HeaderName) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default()
    }

    /// `name=value` of the session cookie that it sets.
    fn session_cookie(&self) -> Option<String> {
        let cookies = self.headers.get_all(header::SET_COOKIE).iter();
        let mut cookies = cookies.map(|cookie| cookie.to_str().unwrap());
        let cookie = cookies.find(|cookie| cookie.starts_with("menshen_console_"))?;
        Some(cookie.split(';').next().unwrap().to_owned())
    }

    /// The token of the forms on the page.
    fn form_token(&self) -> String {
        let field = "name=\"form_token\" value=\"";
        let rest = self.text.split(field).nth(1).expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with_config(CONFIG).await
    }

    async fn with_config(text: &str) -> Self {
        let source = Source::default();
        let Loaded {
            config, origins, ..
        } = Config::load_text(&source, text, app::check).unwrap();
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let mut admin = app::operations(&config, Access::ReadWrite).await.unwrap();
        admin.clock = clock.clone();
        let admin = Arc::new(admin);
        let metrics = Metrics::new();
        let memory = Arc::new(ConsoleMemory::new(clock.clone()));
        memory.begin_generation(clock.now());
        let issuers = TrustedIssuers::compile(&config, &gate::custom_claims(&config)).unwrap();
        let sink = Sink::to(io::sink()).unwrap();
        let offline = app::offline_gate(&config, false).await.unwrap();
        let routes = router(Console::new(ConsoleParts {
            probes: Probes {
                stage: watch::channel(ProcessStage::Serving).1,
                store: admin.store.clone(),
                denylist: Arc::new(Denylist::new()),
                metrics: metrics.clone(),
                details: Arc::new(ReadinessDetails::default()),
                issuers: Arc::new(issuers),
            },
            admin: admin.clone(),
            memory: memory.clone(),
            recent: sink.recent().clone(),
            token: Secret::new(TOKEN.to_owned()),
            gate: offline.gate,
            values: values_in_force(&config, &origins),
            config,
            check: Box::new(move |text| Config::load_text(&source, text, app::check)),
        }));
        Self {
            routes,
            admin,
            memory,
            metrics,
            clock,
            sink,
        }
    }

    async fn send(&self, request: Request<Body>) -> Shown {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Shown {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str, cookie: &str) -> Shown {
        let request = Request::get(path)
            .header(header::HOST, HOST)
            .header(header::COOKIE, cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Sends a form as a page of the console does.
    async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Shown {
        let request = form(path)
            .header(header::HOST, HOST)
            .header(header::ORIGIN, format!("http://{HOST}"))
            .header(header::COOKIE, cookie);
        self.send(request.body(body(fields)).unwrap()).await
    }

    /// Signs in; the cookie, and the token of the forms.
    async fn sign_in(&self) -> (String, String) {
        let signed_in = self.post("/console/sign-in", "", &[("token", TOKEN)]).await;
        assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
        let cookie = signed_in.session_cookie().expect("a session");
        let form_token = self.get("/console/people", &cookie).await.form_token();
        (cookie, form_token)
    }

    /// Adds a person with texts that others have chosen.
    async fn add_person(&self, id: &str, text: &str) {
        let user = ImportedUser {
            id: UserId::parse(id).unwrap(),
            openids: vec![(
                AppId::parse("wx0123456789abcdef").unwrap(),
                OpenId::parse(&format!("openid-of-{id}")).unwrap(),
            )],
            unionid: None,
            phone: Some(Phone::parse_any("13800138000").unwrap()),
            user_type: UserType::user(),
            roles: vec![],
            profile: Profile {
                nickname: Some(text.to_owned()),
                bio: Some(text.to_owned()),
                ..Profile::default()
            },
            created_at: self.clock.now(),
        };
        let imported = self.admin.administration.import(&[user], false).await;
        imported.unwrap();
    }

    /// Writes a line of the access log, and waits until it is kept.
    fn log(&self, line: &AccessLine<'_>) {
        AccessLog::new(Some((self.sink.clone(), LogFormat::Json))).write(line);
        self.sink.close();
    }
}

/// A rejected request, as the access log has it.
fn rejected() -> AccessLine<'static> {
    AccessLine {
        at: Timestamp::from_secs(1_800_000_000),
        request_id: "request-1",
        method: "GET",
        path: "/office/x",
        protocol: "HTTP/1.1",
        status: 403,
        rule: "office",
        decision: "refused",
        error: Some("forbidden"),
        would_refuse: None,
        user: Some("019a4f6e-8f1b-7c33-9a55-2f7d1c0b9e11"),
        client_ip: ClientIp::new("203.0.113.77".parse().unwrap()),
        upstream: None,
        upstream_us: None,
        received: 0,
        sent: 0,
        ended: "complete",
        duration_us: 12,
        gate_us: 1,
    }
}

fn form(path: &str) -> axum::http::request::Builder {
    let urlencoded = "application/x-www-form-urlencoded";
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, urlencoded)
}

fn body(fields: &[(&str, &str)]) -> Body {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    Body::from(pairs.collect::<Vec<_>>().join("&"))
}

/// Every page, with its method; all need a session.
const PAGES: [(&str, &str); 16] = [
    ("GET", "/console"),
    ("GET", "/console/events"),
    ("GET", "/console/why"),
    ("GET", "/console/why?id=request-1"),
    ("POST", "/console/why/explain"),
    ("GET", "/console/people"),
    ("POST", "/console/people/find"),
    ("GET", "/console/people/42"),
    ("POST", "/console/people/42/ban"),
    ("POST", "/console/people/42/delete"),
    ("GET", "/console/audit"),
    ("GET", "/console/config?all=yes"),
    ("POST", "/console/config/check"),
    ("GET", "/console/keys"),
    ("POST", "/console/keys/rotate"),
    ("POST", "/console/sign-out"),
];
